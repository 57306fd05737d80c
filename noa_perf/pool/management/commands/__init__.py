"""Management commands of the connection pools."""
