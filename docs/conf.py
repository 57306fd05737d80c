"""How Sphinx builds these pages; ``make docs`` treats a warning as an error."""

from __future__ import annotations

import noa_perf

project = "noa_perf"
author = "The noa_perf maintainers"
copyright = author
version = release = noa_perf.__version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "noa_perf"
