"""A process of its own that asks for units of one client as fast as it can: run as a program by the tests."""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Ask ``times`` times under each policy, and say how many units were had."""
    location, prefix, policies, times, skew = json.loads(sys.argv[1])
    if skew:
        for name in ("time", "monotonic", "perf_counter"):
            real = getattr(time, name)
            setattr(time, name, lambda real=real: real() + skew)
        for name in ("time_ns", "monotonic_ns"):
            real = getattr(time, name)
            setattr(time, name, lambda real=real: real() + skew * 10**9)
    from noa_perf.ratelimit.limiter import Limiter
    from noa_perf.ratelimit.policy import Policy
    from noa_perf.ratelimit.storages.redis import RedisStorage
    from tests.ratelimit.places import guard_to

    limiter = Limiter(RedisStorage(guard_to(location, timeout=10.0), prefix))
    own = [Policy.parse(name, written) for name, written in policies.items()]
    had = dict.fromkeys(policies, 0)
    waits = {}
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for _ in range(times):
        for policy in own:
            decision = limiter.hit(policy, "everybody")
            assert not decision.degraded, decision.degraded
            had[policy.name] += decision.allowed
            if not decision.allowed:
                waits[policy.name] = decision.retry_after
    json.dump([had, waits], sys.stdout)


if __name__ == "__main__":
    from django.conf import settings

    settings.configure(SECRET_KEY="hammer")
    main()
