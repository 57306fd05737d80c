"""Connections that are cheap, clean, counted and never lost."""
