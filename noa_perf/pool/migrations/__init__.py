"""Migrations of the connection pools."""
