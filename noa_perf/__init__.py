"""Reusable Django apps that find, fix and prevent slowness."""

__version__ = "0.1.0"
