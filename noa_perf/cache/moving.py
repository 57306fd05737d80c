"""What the settings of django-redis, django-valkey and Django's own Redis cache mean here; and which mean nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from noa_perf.core.conf import Problem

PACKAGES = ("django_redis.", "django_valkey.", "django.core.cache.")

_OURS = "noa_perf.cache.codecs.theirs"
SERIALIZERS = {
    "pickle": "",
    "redis": "",
    "json": f"{_OURS}.JSONSerializer",
    "msgpack": f"{_OURS}.MessagePackSerializer",
    "MsgSpecJsonSerializer": f"{_OURS}.JSONSerializer",
    "MsgSpecMsgPackSerializer": f"{_OURS}.MessagePackSerializer",
}
"""Ours for each of theirs, by the module's name or the class's; nothing: the codec says."""
COMPRESSORS = {"identity": "none", "zlib": "zlib", "lz4": "lz4", "zstd": "zstd"}
"""Ours for each of theirs, by the module's name."""
_ENTRIES = "Entries are written in another way; those of the former backend are read where trust_pickles says so."
_QUICKER = "Entries are compressed with lz4 or Zstandard, which are quicker; say which with compress."
_POOL = "Connections are kept as CONNECTION_POOL_KWARGS says; keyword arguments of redis-py's stand there."
_NEVER = "An error of Redis never reaches a view; it is counted, and logged once."
_KEPT = "Connections are kept for the next request."

OPTIONS: Mapping[str, str] = {
    "PICKLE_VERSION": f"{_ENTRIES} Remove it.",
    "COMPRESSOR_KWARGS": f"{_QUICKER} Remove it.",
    "COMPRESSOR_MIN_LENGTH": 'Remove it, or say OPTIONS["compress_from"].',
    "REDIS_CLIENT_CLASS": f"{_POOL} Remove it.",
    "REDIS_CLIENT_KWARGS": f"{_POOL} Move them there.",
    "BASE_CLIENT_CLASS": f"{_POOL} Remove it.",
    "BASE_CLIENT_KWARGS": f"{_POOL} Move them there.",
    "PARSER_CLS": "redis-py chooses the parser itself: hiredis where it is installed. Remove it.",
    "REPLICA_READ_ONLY": "The cache reads from the primary, for a replica may be behind. Remove it.",
}
"""Options without a meaning here, and the cure."""
UNLESS: Mapping[str, tuple[Any, str]] = {
    "IGNORE_EXCEPTIONS": (True, f"{_NEVER} Remove it."),
    "LOG_IGNORED_EXCEPTIONS": (True, f"{_NEVER} Silence the logger noa_perf.cache instead."),
    "LOG_IGNORE_EXCEPTIONS": (True, f"{_NEVER} Silence the logger noa_perf.cache instead."),
    "CLOSE_CONNECTION": (False, f"{_KEPT} Remove it."),
}
"""Those that ask for what is done anyway, when they have this value."""
_CLUSTER = "Write redis+cluster://host:port,host:port/ for a Cluster; of several servers the first is used."
CLIENTS: Mapping[str, str] = {
    "DefaultClient": "",
    "SentinelClient": "",
    "DefaultClusterClient": "",
    "ShardClient": _CLUSTER,
    "HerdClient": "Use get_or_set, or give each entry its own end with expiry_jitter. Remove it.",
}
"""CLIENT_CLASS by the class's name."""
FACTORIES = ("ConnectionFactory", "SentinelConnectionFactory")
GLOBAL: Mapping[str, str] = {
    "LOGGER": "Errors are logged to noa_perf.cache.",
    "SCAN_ITERSIZE": "500 keys are looked at for one SCAN; say itersize in the call.",
    "IGNORE_EXCEPTIONS": _NEVER,
    "LOG_IGNORED_EXCEPTIONS": _NEVER,
    "CLOSE_CONNECTION": _KEPT,
    "CONNECTION_FACTORY": 'Servers are told by LOCATION, and by OPTIONS["SENTINELS"].',
}
"""Settings beside CACHES, without the package's name."""


def serializer(named: str) -> str | None:
    """Return the path of ours for a serializer of theirs (nothing: the codec says), or None for anybody else's."""
    module, _, name = named.rpartition(".")
    if not named.startswith(PACKAGES):
        return None
    return SERIALIZERS.get(name, SERIALIZERS.get(module.rpartition(".")[2], ""))


def compressor(named: str) -> str:
    """Return the name of our compressor for one of theirs."""
    return COMPRESSORS.get(named.rpartition(".")[0].rpartition(".")[2], "auto")


def ignored(given: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Yield what in OPTIONS (written as ``path``) has no meaning here, each with its cure."""
    for name, cure in OPTIONS.items():
        if name in given:
            yield _told(f"{path}[{name!r}]", cure)
    for name, (expected, cure) in UNLESS.items():
        if name in given and bool(given[name]) is not expected:
            yield _told(f"{path}[{name!r}]", cure)
    client = _class(given.get("CLIENT_CLASS"))
    cure = CLIENTS.get(client, "Clients are made from LOCATION. Remove it.") if client else ""
    if cure:
        yield _told(f'{path}["CLIENT_CLASS"]', cure)
    if _class(given.get("CONNECTION_FACTORY")) not in {"", *FACTORIES}:
        yield _told(f'{path}["CONNECTION_FACTORY"]', GLOBAL["CONNECTION_FACTORY"])
    named = given.get("COMPRESSOR")
    if isinstance(named, str) and "compress" not in given and compressor(named) == "auto":
        yield _told(f'{path}["COMPRESSOR"]', f"{_QUICKER} Remove it.")


def ignored_globals(settings: Any) -> Iterator[Problem]:
    """Yield the settings of packages that no entry of CACHES uses any more."""
    used = {str(entry.get("BACKEND", "")).partition(".")[0] for entry in settings.CACHES.values()}
    for package in ("django_redis", "django_valkey"):
        for name, why in GLOBAL.items() if package not in used else ():
            setting = f"{package.upper()}_{name}"
            value = getattr(settings, setting, None)
            expected = UNLESS[name][0] if name in UNLESS else None
            harmless = _class(value) in FACTORIES if name == "CONNECTION_FACTORY" else value is expected
            if value is not None and not harmless:
                yield _told(setting, f"{why} Remove it.")


def _class(named: Any) -> str:
    if isinstance(named, type):
        return named.__name__
    return str(named or "").rpartition(".")[2]


def _told(where: str, cure: str) -> Problem:
    return Problem("unknown", f"{where} is ignored.", cure)
