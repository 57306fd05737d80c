"""The shop: shared models, routes and data; its two twins lie in as_is and mended."""
