"""Migrations of the dashboard: permissions, no table."""
