"""Run the wagtail site's commands: ``WAGTAIL_NOA_PERF=1`` installs noa_perf in it, ``0`` leaves it out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parent.parent))  # what the sites share
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wagtailsite.settings")
    execute_from_command_line(sys.argv)
