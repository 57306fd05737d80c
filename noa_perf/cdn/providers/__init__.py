"""The edges: one small class each."""
