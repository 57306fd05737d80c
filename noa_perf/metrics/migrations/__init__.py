"""Migrations of the metrics."""
