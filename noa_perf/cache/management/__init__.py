"""Management commands of the cache."""
