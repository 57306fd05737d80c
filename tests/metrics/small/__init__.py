"""A small site that runs in processes of its own; the environment names its database."""
