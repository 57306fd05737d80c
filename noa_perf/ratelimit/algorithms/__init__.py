"""The algorithms, each as arithmetic on integers: what Redis does in Lua, memory does here, step by step the same."""
