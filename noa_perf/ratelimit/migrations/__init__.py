"""Migrations of the rate limiter."""
