"""Management commands of the rate limiter."""
