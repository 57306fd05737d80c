"""A shop with real load, and with its faults left in on purpose."""
