"""Where entries lie: in this process's memory, and in Redis."""
