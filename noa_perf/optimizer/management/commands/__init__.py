"""Management commands of the optimizer."""
