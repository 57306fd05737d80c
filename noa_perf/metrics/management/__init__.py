"""Management of the metrics."""
