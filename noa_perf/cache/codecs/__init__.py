"""How a value becomes the bytes of an entry, and back: of the same type, or not at all."""
