"""Keeps one client from taking what belongs to all, exactly, across every process."""
