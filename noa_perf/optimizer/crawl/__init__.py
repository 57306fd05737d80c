"""Walks a site by its URL patterns and its links: a page of each kind before a second page of any."""
