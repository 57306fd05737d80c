"""The shop with its faults mended."""
