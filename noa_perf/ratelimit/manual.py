"""Bans, releases and erasures by hand: the same for the admin and for commands."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

from django.utils import timezone

from noa_perf.ratelimit import abuse, audit, registry
from noa_perf.ratelimit.bans import Terms
from noa_perf.ratelimit.clients import Client, has, within
from noa_perf.ratelimit.conf import settings
from noa_perf.ratelimit.exceptions import BadPolicy, BansUnavailable, StorageDown
from noa_perf.ratelimit.models import MANUAL, Ban, ListEntry
from noa_perf.ratelimit.rates import SECOND, duration
from noa_perf.ratelimit.rules import FOREVER

LONGEST_REASON = 200
"""Characters."""


def length(written: Any) -> float:
    """Return the seconds that a ban is to last; raises ``BadPolicy``."""
    micros = duration(written)
    if micros > FOREVER:
        raise BadPolicy(f"{written!r} is longer than ten years. For ever is an entry of the deny list.")
    return micros / SECOND


def why(written: str) -> str:
    """Return a reason that a row can hold; raises ``BadPolicy``."""
    if len(written) > LONGEST_REASON:
        raise BadPolicy(f"A reason of {len(written):,} characters is too long. Write {LONGEST_REASON} at most.")
    return written


def ban(client: Client, seconds: float, reason: str, user: Any = None) -> Ban:
    """Ban somebody for so long, in place of any ban that there is; return the row that says so.

    Raises :class:`~noa_perf.ratelimit.exceptions.BansUnavailable`, and then nothing has changed.
    """
    bans = abuse.current().bans
    try:
        made = bans.impose(client.text, Terms(MANUAL, seconds, longest=seconds))
    except StorageDown as error:
        raise BansUnavailable(error.kind) from error
    now = timezone.now()
    Ban.objects.active(now).filter(client=client.text).update(released=now, released_by=user)
    until = now + dt.timedelta(seconds=seconds)
    row = Ban(client=client.text, tier=made.tier, reason=reason, begun=now, until=until, created_by=user)
    row.save()
    audit.note("banned somebody, ban", row.pk, user)
    return row


def release(client: Client, user: Any = None) -> bool:
    """End a ban everywhere, and forget what was counted; tell whether there was one. Raises ``BansUnavailable``."""
    was = _released(client)
    rows = Ban.objects.active().filter(client=client.text)
    for pk in rows.values_list("pk", flat=True):
        audit.note("released ban", pk, user)
    return bool(rows.update(released=timezone.now(), released_by=user)) or was


def is_banned(client: Client) -> bool:
    """Tell whether somebody is banned, by that very name. Raises ``BansUnavailable``."""
    bans = _refreshed()
    return bans.local.of(client.text) is not None or Ban.objects.active().filter(client=client.text).exists()


def around(client: Client) -> list[str]:
    """Return the banned networks in which an address or a network lies. Raises ``BansUnavailable``."""
    if client.network is None:
        return []
    rows = Ban.objects.active().filter(client__contains="/").values_list("client", flat=True)
    known = {one.client for one in _refreshed().local.bans()} | set(rows)
    return sorted(text for text in known if text != client.text and has(Client.parse(text), *client.network))


class Erased(NamedTuple):
    """What was kept, and is no more."""

    bans: int = 0
    """Rows, and bans in force that have none."""
    entries: int = 0
    """Rows of the lists."""
    counters: int = 0
    """Counts of policies and rules."""


def erase(client: Client, *, dry: bool = False) -> Erased:
    """Delete all that is kept of one client, or of the network that its address counts as.

    Raises ``BansUnavailable``, and then nothing has changed.
    """
    own = settings()
    names = {client, Client.parse(within(client.text, own.ipv4_prefix, own.ipv6_prefix) or client.text)}
    bans = Ban.objects.filter(client__in=[name.text for name in names])
    entries = ListEntry.objects.filter(kind=client.kind, value__in=[name.value for name in names])
    if dry:
        return Erased(bans.count(), entries.count(), sum(_forget(name, dry=True) for name in names))
    counters = sum(map(_erase_live, names))
    found = Erased(bans.delete()[0], entries.delete()[0], counters)
    audit.note("erased what was kept of somebody:", f"{found.bans} bans, {found.entries} list entries")
    return found


def erase_before(moment: dt.datetime, *, dry: bool = False) -> Erased:
    """Delete the rows of bans that ended before a moment."""
    rows = Ban.objects.over(min(moment, timezone.now()))
    found = Erased(rows.count() if dry else rows.delete()[0])
    if not dry:
        audit.note("erased old bans:", f"{found.bans} bans")
    return found


def erase_all(*, dry: bool = False) -> Erased:
    """Delete all bans and list entries, and end all bans. Raises ``BansUnavailable``."""
    bans, entries = Ban.objects.all(), ListEntry.objects.all()
    if dry:
        return Erased(bans.count(), entries.count())
    banned = {one.client for one in _refreshed().local.bans()}
    banned.update(bans.active().values_list("client", flat=True))
    counters = sum(_erase_live(Client.parse(text)) for text in banned)
    _forget_former()
    found = Erased(bans.delete()[0], entries.delete()[0], counters)
    audit.note("erased everything:", f"{found.bans} bans, {found.entries} list entries")
    return found


def _erase_live(client: Client) -> int:
    counters = _forget(client)
    _released(client, erase=True)
    return counters


def _released(client: Client, *, erase: bool = False) -> bool:
    own = abuse.current()
    try:
        was = own.bans.release(client.text, erase=erase)
    except StorageDown as error:
        raise BansUnavailable(error.kind) from error
    own.forgive(client.text)
    return was


def _refreshed() -> Any:
    bans = abuse.current().bans
    try:
        bans.refresh()
    except StorageDown as error:
        raise BansUnavailable(error.kind) from error
    return bans


def _forget_former() -> None:
    shared = abuse.current().bans.shared
    try:
        if shared is not None:
            shared.forget_former()
    except StorageDown as error:
        raise BansUnavailable(error.kind) from error


def _forget(client: Client, *, dry: bool = False) -> int:
    try:
        return registry.limiter().storage.forget(client.text, dry=dry)
    except StorageDown as error:
        raise BansUnavailable(error.kind) from error
