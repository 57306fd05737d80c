"""Reads the site's own source, to find the line that builds a queryset; off the path of a request."""
