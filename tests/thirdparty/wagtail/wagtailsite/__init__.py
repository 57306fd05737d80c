"""A magazine on wagtail, set up and written as its tutorial does; noa_perf has never seen it."""
