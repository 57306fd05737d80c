"""Where releases are published: a folder, or a bucket of S3."""
