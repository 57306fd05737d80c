"""Migrations of the CDN app: permissions alone, for it has no table."""
