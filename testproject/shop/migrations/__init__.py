"""The shop's schema, with its indexes left out."""
