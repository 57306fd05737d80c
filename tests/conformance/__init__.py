"""What others wrote (Django's own suites), run against our parts: ``make conformance ONLY=cache``."""
