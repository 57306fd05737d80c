"""Template tags of the CDN app."""
