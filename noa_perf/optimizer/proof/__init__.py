"""Proves a cure before anybody makes it: the page is asked for again with the queryset changed, and no file is."""
