"""Management commands of the metrics."""
