"""Many processes on one key: never one above the limit, whatever their clocks show."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import get
from tests.servers.redis import Redis, RedisCluster

pytestmark = [pytest.mark.server, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
LIMIT = 250
POLICIES = {
    "fixed": {"limits": f"{LIMIT}/w", "algorithm": "fixed_window"},
    "log": {"limits": f"{LIMIT}/w", "algorithm": "sliding_log"},
    "counter": {"limits": f"{LIMIT}/w", "algorithm": "sliding_counter"},
    "parts": {"limits": f"{LIMIT}/w", "algorithm": "sliding_counter", "guarantee": "window"},
    "token": {"limits": f"{LIMIT}/w", "algorithm": "token_bucket"},
    "leaky": {"limits": f"{LIMIT}/w", "algorithm": "leaky_bucket", "burst": LIMIT},
    "gcra": {"limits": f"{LIMIT}/w", "algorithm": "gcra"},
    "several": {"limits": [f"{LIMIT}/w", {"rate": f"{LIMIT + 50}/w", "algorithm": "sliding_log"}]},
}
_prefixes = itertools.count()


def hammer(location, skews, times):
    prefix = f"hammer{next(_prefixes)}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.ratelimit.hammer", json.dumps([location, prefix, POLICIES, times, skew])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for skew in skews
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert all(process.returncode == 0 for process in processes)
    return [had for had, _ in said], [waits for _, waits in said]


@pytest.mark.parametrize("server", [Redis, RedisCluster])
def test_eight_processes_on_one_key_admit_the_limit_and_not_one_more(server):
    location = get(server).urls()["cluster" if server is RedisCluster else "primary"]
    had, _ = hammer(location, [0] * 8, 60)
    assert {name: sum(one[name] for one in had) for name in POLICIES} == dict.fromkeys(POLICIES, LIMIT)


def test_a_web_host_whose_clock_is_an_hour_off_changes_nothing():
    had, waits = hammer(get(Redis).urls()["primary"], [0, 3_600, -3_600], 150)
    assert {name: sum(one[name] for one in had) for name in POLICIES} == dict.fromkeys(POLICIES, LIMIT)
    for name in POLICIES:
        told = [one[name] for one in waits if name in one]
        assert max(told) - min(told) < 60
