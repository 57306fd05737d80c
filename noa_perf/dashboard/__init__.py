"""Admin pages that draw what the other apps registered; it imports none of them."""
