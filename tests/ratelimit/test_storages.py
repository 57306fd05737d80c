"""Every storage by the same rules: all limits or none, whoever asks, sync or async."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest
from asgiref.sync import async_to_sync

from noa_perf.core.clock import ManualClock
from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.keys import join
from noa_perf.ratelimit.limiter import Limiter
from noa_perf.ratelimit.policy import Policy
from noa_perf.ratelimit.storages.base import Charge
from noa_perf.ratelimit.storages.memory import MemoryStorage
from noa_perf.ratelimit.storages.redis import RedisStorage
from tests.ratelimit.places import guard_to, storage_of
from tests.servers import get
from tests.servers.redis import Redis, RedisCluster, RedisSentinel

ALGORITHMS = ["fixed_window", "sliding_log", "sliding_counter", "token_bucket", "leaky_bucket", "gcra"]
_names = itertools.count()


def on_cluster():
    return RedisStorage(guard_to(get(RedisCluster).urls()["cluster"]), f"t{next(_names)}")


def on_sentinel():
    return RedisStorage(guard_to(get(RedisSentinel).urls()["sentinel"]), f"t{next(_names)}")


PLACES = {
    "memory": MemoryStorage,
    "redis": lambda: storage_of(get(Redis)),
    "sentinel": on_sentinel,
    "cluster": on_cluster,
}


class Async:
    """The async twins of a limiter, called from sync code."""

    def __init__(self, limiter):
        self._limiter = limiter
        self.storage, self.tallies = limiter.storage, limiter.tallies

    def __getattr__(self, name):
        return async_to_sync(getattr(self._limiter, f"a{name}"))


@pytest.fixture(params=["sync", "async"])
def through(request):
    return (lambda limiter: limiter) if request.param == "sync" else Async


@pytest.fixture(params=[pytest.param(name, marks=[] if name == "memory" else pytest.mark.server) for name in PLACES])
def limiter(request, through):
    return through(Limiter(PLACES[request.param]()))


def policy(limits, **more):
    return Policy.parse(f"p{next(_names)}", {"limits": limits, **more})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_admits_the_limit_and_not_one_more(limiter, algorithm):
    own = policy("3/d", algorithm=algorithm, **({"burst": 3} if algorithm == "leaky_bucket" else {}))
    decisions = [limiter.hit(own, "ip:1") for _ in range(5)]
    assert [bool(one) for one in decisions] == [True, True, True, False, False]
    assert [one.remaining for one in decisions] == [2, 1, 0, 0, 0]
    assert 0 < decisions[-1].retry_after <= 2 * 86_400
    assert decisions[-1].reason == "limit"
    assert limiter.hit(own, "ip:2").allowed


def test_a_cost_is_charged_as_a_whole_or_not_at_all(limiter):
    own = policy("10/d")
    assert limiter.hit(own, "a", 7).remaining == 3
    assert not limiter.hit(own, "a", 4)
    assert limiter.hit(own, "a", 3).remaining == 0
    never = limiter.hit(own, "b", 11)
    assert not never
    assert never.retry_after is None
    assert limiter.hit(own, "a", 0).allowed


def test_a_bad_cost_is_refused_whatever_is_quick(limiter):
    for cost in (-1, 1.5, "1", 10**10):
        with pytest.raises(BadPolicy, match="whole number"):
            limiter.hit(policy("10/d"), "a", cost)


def test_one_limit_that_says_no_charges_none(limiter):
    own = policy(["5/d", "2/h", {"rate": "3/d", "algorithm": "sliding_log"}])
    assert [bool(limiter.hit(own, "a")) for _ in range(4)] == [True, True, False, False]
    assert [one.remaining for one in limiter.status(own, "a").verdicts] == [3, 0, 1]


def test_several_clients_of_one_request_are_charged_all_or_none(limiter):
    users, addresses = policy("2/d"), policy("5/d", algorithm="fixed_window")
    logged = policy("5/d", algorithm="sliding_log")
    charges = [Charge(addresses, "ip:1"), Charge(logged, "path:1"), Charge(users, "user:1")]
    assert [bool(limiter.decide(charges)) for _ in range(4)] == [True, True, False, False]
    for own, client, left in ((addresses, "ip:1", 3), (logged, "path:1", 3), (users, "user:1", 0)):
        assert limiter.status(own, client).remaining == left
    refused = limiter.decide(charges)
    assert [(one.policy.name, one.allowed) for one in refused.verdicts] == [
        (addresses.name, True),
        (logged.name, True),
        (users.name, False),
    ]
    assert [one.remaining for one in refused.verdicts] == [3, 3, 0]


def test_verdicts_come_in_the_order_of_the_charges(limiter):
    own, other = policy("5/d"), policy("2/d")
    charges = [Charge(own, "a"), Charge(other, "b"), Charge(own, "b", 3), Charge(other, "a")]
    for allowed in (True, False):
        decision = limiter.decide(charges)
        assert decision.allowed == allowed
        assert [one.policy for one in decision.verdicts] == [one.policy for one in charges]
        assert [one.remaining for one in decision.verdicts] == [4, 1, 2, 1]


def test_the_order_of_clients_changes_nothing(limiter):
    users, addresses = policy("2/d"), policy("5/d")
    for charges in itertools.permutations([Charge(users, "u"), Charge(addresses, "a")]):
        limiter.decide(list(charges))
    assert not limiter.decide([Charge(users, "u"), Charge(addresses, "a")])
    assert limiter.status(addresses, "a").remaining == 3


def test_one_client_named_twice_is_charged_twice(limiter):
    own = policy("3/d")
    assert limiter.decide([Charge(own, "a"), Charge(own, "a")]).remaining == 1
    assert not limiter.decide([Charge(own, "a"), Charge(own, "a")])


def test_shadow_mode_denies_nothing_and_counts(limiter):
    shadow, real = policy("1/d", shadow=True), policy("3/d")
    charges = [Charge(shadow, "a"), Charge(real, "a")]
    decisions = [limiter.decide(charges) for _ in range(4)]
    assert [bool(one) for one in decisions] == [True, True, True, False]
    assert [len(one.shadowed) for one in decisions] == [0, 1, 1, 1]
    assert decisions[1].remaining == 1  # of the one that is enforced
    assert limiter.hit(shadow, "a").allowed
    outcomes = limiter.tallies.of(shadow.name).collect().outcomes
    assert (outcomes["allowed"], outcomes["shadowed"], outcomes["denied"]) == (1, 4, 0)


def test_shadow_mode_charges_what_would_have_passed(limiter):
    shadow, real = policy(["1/d", "5/h"], shadow=True), policy("2/d")
    for charges in ([Charge(shadow, "a"), Charge(real, "b")], [Charge(shadow, "b"), Charge(real, "b")]):
        limiter.reset(real, "b")
        assert [bool(limiter.decide(charges)) for _ in range(4)] == [True, True, False, False]
        assert [one.remaining for one in limiter.status(shadow, charges[0].client).verdicts] == [0, 4]
    assert not getattr(limiter.storage, "guard", None) or not limiter.storage.guard.failures


def test_a_test_charges_nothing(limiter):
    own = policy("2/d")
    assert limiter.test(own, "a", 2).allowed
    assert not limiter.test(own, "a", 3)
    assert limiter.status(own, "a").remaining == 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_penalty_and_reward(limiter, algorithm):
    own = policy("5/d", algorithm=algorithm, **({"burst": 5} if algorithm == "leaky_bucket" else {}))
    assert limiter.penalty(own, "a", 3).remaining == 2
    assert limiter.penalty(own, "a", 100).remaining == 0
    assert not limiter.hit(own, "a")
    assert limiter.reward(own, "a", 2).remaining == 2
    assert limiter.hit(own, "a").remaining == 1
    assert limiter.reward(own, "a", 100).remaining == 5
    assert limiter.status(own, "a").verdicts[0].reset_after == 0


def test_reset_forgets_one_client_under_one_policy(limiter):
    own, other = policy(["1/d", "1/h"]), policy("1/d")
    for one in (own, other):
        assert limiter.hit(one, "a")
        assert limiter.hit(one, "b")
    assert limiter.reset(own, "a") is True
    assert limiter.reset(own, "a") is False
    assert limiter.hit(own, "a")
    assert not limiter.hit(own, "b")
    assert not limiter.hit(other, "a")


def test_forgets_a_client_alone_and_together_with_others_under_every_policy(limiter):
    own, other = policy(["3/d", "5/d"]), policy("3/d", algorithm="sliding_log")
    theirs = ["ip:203.0.113.71", join(["ip:203.0.113.71", "endpoint:a"]), "own:ip:203.0.113.7", "ip:203x0y113z7", "x*"]
    his = ["ip:203.0.113.7", join(["endpoint:a", "ip:203.0.113.7"]), join([join(["ip:203.0.113.7", "b"]), "c"])]
    for client in (*his, *theirs):
        limiter.hit(own, client)
        limiter.hit(other, client)
    limiter.block(own, his[1], 60)

    storage = limiter.storage
    assert [storage.forget("ip:203.0.113.7", dry=True) for _ in range(2)] == [10, 10]
    assert storage.forget("ip:203.0.113.7") == 10
    assert storage.forget("ip:203.0.113.7") == 0
    assert [limiter.hit(own, client).remaining for client in his] == [2] * 3
    assert [limiter.hit(other, client).remaining for client in theirs] == [1] * 5
    assert storage.forget("x*") == 3


def test_block_refuses_whatever_is_left_and_reset_ends_it(limiter):
    own = policy("5/d")
    assert limiter.block(own, "a", "1h") is True
    refused = limiter.hit(own, "a")
    assert not refused
    assert refused.remaining == 0
    assert 3_599 < refused.retry_after <= 3_600
    assert limiter.hit(own, "b").remaining == 4
    assert limiter.reset(own, "a") is True
    assert limiter.hit(own, "a").remaining == 4
    limiter.block(own, "a", 60)
    limiter.block(own, "a", 0)
    assert limiter.hit(own, "a").remaining == 3


def test_a_changed_limit_or_algorithm_counts_for_itself(limiter):
    name = f"p{next(_names)}"
    for written in ("1/d", "2/d", {"limits": "1/d", "algorithm": "sliding_log"}, {"limits": "1/d", "burst": 2}):
        assert limiter.hit(Policy.parse(name, written), "a")


@pytest.mark.parametrize("client", ["a:b", "a}b{", "ключ ☃", "x" * 10_000, "a\nb", "", "#1", "{a}", "\udcff"])
def test_any_name_of_a_client_is_its_own(limiter, client):
    own = policy("1/d")
    assert limiter.hit(own, client)
    assert not limiter.hit(own, client)
    assert limiter.hit(own, client + "x")
    assert limiter.reset(own, client)
    assert limiter.hit(own, client)


def test_a_fixed_clock_of_memory_lets_quota_come_back():
    clock = ManualClock()
    limiter = Limiter(MemoryStorage(clock=clock))
    own = policy("2/s", guarantee="window", burst=1)
    assert limiter.hit(own, "a")
    assert limiter.hit(own, "a").retry_after == 0.5
    clock.advance(0.5)
    assert limiter.hit(own, "a")


def test_a_million_clients_stay_within_the_bound_and_the_busy_are_remembered():
    storage = MemoryStorage(max_keys=10_000)
    limiter = Limiter(storage)
    own = policy("5/d")
    for number in range(1_000_000):
        limiter.hit(own, f"ip:{number}")
        if number % 4_000 == 0:
            limiter.hit(own, "busy")
        assert number % 50_000 or len(storage) <= 10_000
    assert len(storage) <= 10_000
    assert not limiter.hit(own, "busy")


def test_sliding_logs_weigh_what_they_hold():
    storage = MemoryStorage(max_keys=1_000)
    limiter = Limiter(storage)
    own = policy("100/d", algorithm="sliding_log")
    for client in range(200):
        for _ in range(100):
            limiter.hit(own, str(client))
    held = [log for one in (storage._young, storage._old) for kept in one.values() for log in kept.values()]
    assert sum(1 + len(log.entries) // 2 for log in held) <= 1_000


@pytest.mark.parametrize("times", [1, 20])
def test_logs_that_are_forgotten_or_over_weigh_nothing(times):
    clock = ManualClock()
    storage = MemoryStorage(max_keys=200, clock=clock)
    limiter = Limiter(storage)
    own, idle = policy("100/m", algorithm="sliding_log"), policy("1/d")
    assert limiter.hit(idle, "idle")
    for _ in range(times):
        limiter.hit(own, "asked", 10)
        for _ in range(90):
            limiter.hit(own, "asked")
            limiter.hit(own, "reset")
            clock.advance(0.01)
        clock.advance(60)
        limiter.status(own, "asked")
        limiter.reset(own, "reset")
    assert not limiter.hit(idle, "idle")


@pytest.mark.parametrize("others", range(12))
def test_what_is_given_back_while_room_is_made_stays_given_back(others):
    limiter = Limiter(MemoryStorage(max_keys=8))
    own = policy("1/d")
    limiter.hit(own, "a")
    for number in range(others):
        limiter.hit(own, f"{number}")
    limiter.reward(own, "a")
    assert limiter.hit(own, "a")


def test_the_moment_is_asked_for_where_nobody_else_can_come_between():
    """Whoever waits for the lock with a moment of before it would set the clock back for those before him."""
    storage = MemoryStorage()
    asked = []

    def nanoseconds():
        asked.append(storage._lock.locked())
        return 10**15

    storage._nanoseconds = nanoseconds
    for own in (policy("1000/s", algorithm="leaky_bucket"), policy(["2/s", "9/m"])):
        Limiter(storage).hit(own, "a")
    assert asked == [True, True]


def test_a_client_that_is_blocked_leaves_others_quick():
    limiter = Limiter(MemoryStorage())
    own = policy("9/d")
    limiter.block(own, "a", 60)
    assert type(limiter.hit(own, "b")) is not type(limiter.hit(own, "a"))


def test_a_denied_hit_stores_nothing():
    storage = MemoryStorage()
    limiter = Limiter(storage)
    own = policy("1/d")
    for number in range(1_000):
        limiter.hit(own, f"{number}", 2)
    assert len(storage) == 0


@pytest.mark.server
def test_a_denied_hit_stores_nothing_in_redis_and_every_key_ends():
    server = get(Redis)
    storage = storage_of(server)
    limiter = Limiter(storage)
    for algorithm in ALGORITHMS:
        own = policy("2/d", algorithm=algorithm)
        for _ in range(50):
            limiter.hit(own, "a")
            limiter.hit(own, "b", 3)
        limiter.block(own, "c", 60)
    prefix = storage.prefix
    kept = server.query("primary", "KEYS", f"{prefix}:*")
    assert len(kept) == 2 * len(ALGORITHMS)
    assert all(server.query("primary", "PTTL", key) > 0 for key in kept)
    sizes = [server.query("primary", "MEMORY", "USAGE", key) for key in kept]
    assert max(sizes) < 400


def test_threads_on_one_key_admit_the_limit_and_not_one_more():
    limiter = Limiter(MemoryStorage())
    for algorithm in ("gcra", "fixed_window", "sliding_counter", "sliding_log"):
        own = policy("500/d", algorithm=algorithm)
        admitted: list[int] = []

        def work(own=own, admitted=admitted):
            admitted.append(sum(limiter.hit(own, "a").allowed for _ in range(400)))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(admitted) == 500


@pytest.mark.server
def test_tasks_of_one_loop_admit_the_limit_and_not_one_more():
    limiter = Limiter(storage_of(get(Redis), timeout=10.0))  # a burst of new connections takes its time
    own = policy("30/d")

    async def ask():
        return sum([(await limiter.ahit(own, "a")).allowed for _ in range(8)])

    async def work():
        return sum(await asyncio.gather(*(ask() for _ in range(10))))

    assert asyncio.run(work()) == 30
