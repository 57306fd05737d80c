"""From the files that a site collects to a release: made small, named by content, and told in a manifest."""
