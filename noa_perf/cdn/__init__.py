"""Assets from the source tree to the edge and back: built once, published atomically, purged exactly."""
