from __future__ import annotations

import json
import subprocess
import sys

import pytest

from testproject.demo.children import ROOT

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_the_pool_serves_as_many_visitors_with_fewer_connections():
    command = [sys.executable, "-m", "testproject.demo", "--postgres", "--scale", "0.02", "--requests", "256"]
    done = subprocess.run([*command, "--format", "json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for way in ("fresh", "kept", "pooled"):
        assert said[way]["requests_per_second"] > 0
        assert 0 < said[way]["p50_ms"] <= said[way]["p95_ms"]
    assert said["pooled"]["connections"] <= 10 < said["kept"]["connections"]
