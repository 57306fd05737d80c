"""Memory and Redis as one cache behind Django's cache API."""
