"""One twin of the shop: the other differs in nothing but the cures of its faults."""
