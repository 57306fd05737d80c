"""The gate of a build: what endpoints ask the database, against a baseline that is committed."""
