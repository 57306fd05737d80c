"""Who is always let in, and who never: one unchanging look at the settings and the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from noa_perf.ratelimit.addresses import Networks
from noa_perf.ratelimit.clients import Client
from noa_perf.ratelimit.conf import RateLimitSettings
from noa_perf.ratelimit.exceptions import BadPolicy

List = Literal["allow", "deny"]
Entry = tuple[List, str, str]
"""Which list, kind and value."""


class Lists:
    """Both lists. Never changes: whoever reads the table anew makes another one."""

    __slots__ = ("_keys", "_networks", "_users", "allows_users", "has_keys", "has_networks", "has_users", "size")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Sort entries by kind; where both lists name the same one, the allow list holds."""
        kinds: dict[str, dict[str, List]] = {"network": {}, "user": {}, "key": {}}
        for listed, kind, value in entries:
            found = kinds[kind]
            found[value] = "allow" if found.get(value) == "allow" else listed
        self._networks: Networks[List] = Networks(kinds["network"].items())
        self._users, self._keys = kinds["user"], kinds["key"]
        self.has_networks, self.has_users, self.has_keys = (bool(found) for found in kinds.values())
        """Whether somebody of that kind is listed, so that it is worth while to find out who is there."""
        self.allows_users = "allow" in self._users.values()
        self.size = sum(map(len, kinds.values()))

    def look(self, address: Any = None, user: str | None = None, key: str | None = None) -> List | None:
        """Return the list that holds for a client: of networks that of the longest prefix, of kinds allow first."""
        verdict = self._networks.find(address) if self.has_networks and address is not None else None
        if verdict == "allow":
            return verdict
        for found, one in ((self._users, user), (self._keys, key)):
            if found and one is not None and (listed := found.get(one)):
                if listed == "allow":
                    return listed
                verdict = listed
        return verdict


class Fault(NamedTuple):
    """One entry of the settings that cannot be used."""

    setting: str
    """``ALLOW`` or ``DENY``."""
    entry: Any
    message: str


def of_settings(settings: RateLimitSettings) -> Iterator[Entry]:
    """Yield what ALLOW and DENY hold; what cannot be used is left out, and the checks tell of it."""
    for listed, written in _written(settings):
        try:
            client = Client.parse(written)
        except BadPolicy:
            continue
        yield listed, client.kind, client.value


def problems(settings: RateLimitSettings) -> list[Fault]:
    """Return the entries of ALLOW and DENY that cannot be used, each with its cure."""
    found = []
    for listed, written in _written(settings):
        try:
            Client.parse(written)
        except BadPolicy as error:
            found.append(Fault(listed.upper(), written, str(error)))
    return found


def _written(settings: RateLimitSettings) -> Iterator[tuple[List, str]]:
    for one in settings.allow:
        yield "allow", one
    for one in settings.deny:
        yield "deny", one


class Reading(NamedTuple):
    """What was read of the table."""

    version: Any
    """Another one says that the table has changed."""
    expires: float
    """Seconds since 1970 at which the next entry expires; infinite if none does."""
    lists: Lists


def read(settings: RateLimitSettings, known: Reading | None, now: float) -> Reading:
    """Return the lists as settings and table have them now: ``known``, if nothing has changed since.

    Costs one short query then. Raises what the database raises.
    """
    from noa_perf.ratelimit.models import ListEntry

    rows = ListEntry.objects.all()
    version = rows.version()
    if known is not None and known.version == version and now < known.expires:
        return known
    in_force = rows.in_force(datetime.fromtimestamp(now, UTC))
    upcoming = in_force.exclude(expires=None).order_by("expires").values_list("expires", flat=True).first()
    entries: Iterator[Any] = in_force.values_list("list", "kind", "value").iterator(chunk_size=5_000)
    lists = Lists(entry for source in (of_settings(settings), entries) for entry in source)
    return Reading(version, upcoming.timestamp() if upcoming else float("inf"), lists)
