"""Benchmarks beside the peers: each prints the table that docs/reference keeps."""
