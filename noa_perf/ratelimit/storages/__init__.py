"""Where buckets are kept: in this process's memory, or in a Redis that all processes share."""
