"""What the third-party sites share: a command that prints pages, and what their tests run and assert."""
