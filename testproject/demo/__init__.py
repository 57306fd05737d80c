"""The demo: the shop measured as it is, explained, mended, and measured again."""
