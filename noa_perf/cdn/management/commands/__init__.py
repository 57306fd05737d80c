"""Management commands of the CDN app."""
