"""The engines: Django's own database backends, with their connections out of a pool."""
