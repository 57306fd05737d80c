"""The shop with its faults left in."""
