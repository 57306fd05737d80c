"""Redis for every app: which one is meant, its clients, scripts, a short way for reads, and what an error means.

This package alone imports redis-py. It can be imported without it, and names the extra when a client is asked for.
"""

from noa_perf.core.redis.clients import Clients, Role, clients, close_all
from noa_perf.core.redis.errors import ERRORS, LOCK_ERROR, Kind, MissingRedis, classify, is_astray
from noa_perf.core.redis.guard import Guard, Unavailable
from noa_perf.core.redis.lean import MANY, Tail, fast_batch, fast_call, fast_get, fast_mget
from noa_perf.core.redis.scripts import Script
from noa_perf.core.redis.target import Address, Options, RedisSettingsError, RedisTarget, parse, problems

__all__ = [
    "ERRORS",
    "LOCK_ERROR",
    "MANY",
    "Address",
    "Clients",
    "Guard",
    "Kind",
    "MissingRedis",
    "Options",
    "RedisSettingsError",
    "RedisTarget",
    "Role",
    "Script",
    "Tail",
    "Unavailable",
    "classify",
    "clients",
    "close_all",
    "fast_batch",
    "fast_call",
    "fast_get",
    "fast_mget",
    "is_astray",
    "parse",
    "problems",
]
