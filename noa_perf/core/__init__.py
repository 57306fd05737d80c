"""Plain building blocks that every noa_perf app shares; imports nothing of noa_perf."""
