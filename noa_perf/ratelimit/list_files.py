"""Lists as files: a client in each line, taken over as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.db import router, transaction
from django.utils import timezone

from noa_perf.ratelimit.clients import Client
from noa_perf.ratelimit.exceptions import BadImport, BadPolicy
from noa_perf.ratelimit.models import ListEntry, ListQuerySet

SHOWN = 20
"""Bad lines that are named."""
BATCH = 2_000


class Outcome(NamedTuple):
    """What an import does to a list. Rows."""

    read: int
    added: int
    removed: int
    kept: int


def parse(lines: Iterable[str], source: str) -> list[Client]:
    """Return the clients of a file, each once; ``#`` begins a comment.

    Raises :class:`~noa_perf.ratelimit.exceptions.BadImport`, which names each bad line.
    """
    found: dict[Client, None] = {}
    bad: list[str] = []
    for number, line in enumerate(lines, 1):
        if not (text := line.partition("#")[0].strip()):
            continue
        try:
            found[Client.parse(text)] = None
        except BadPolicy as error:
            bad.append(f"  line {number}: {error}")
    if bad:
        raise BadImport("\n".join([_refusal(source, len(bad)), *bad[:SHOWN], *_more(len(bad))]))
    return list(found)


def take_over(clients: Iterable[Client], listed: str, reason: str, *, replace: bool, dry: bool) -> Outcome:
    """Put clients on a list, in one transaction; with ``replace`` whoever else is on it is taken off."""
    wanted = set(clients)
    place = router.db_for_write(ListEntry)  # a replica may not know yet what is there
    with transaction.atomic(place):
        entries, now = ListEntry.objects.using(place), timezone.now()
        rows = entries.filter(list=listed)
        there: dict[tuple[str, str], int] = {}
        for pk, kind, value in rows.in_force(now).values_list("pk", "kind", "value").iterator():
            there[kind, value] = pk
        new = [client for client in wanted if client not in there]
        gone = [pk for client, pk in there.items() if client not in wanted] if replace else []
        if not dry:
            rows.filter(expires__lte=now).delete()  # else what is to be added would be there already
            _delete(entries, gone)
            _add(entries, sorted(new), listed, reason)
    return Outcome(len(wanted), len(new), len(gone), len(there) - len(gone))


def _delete(entries: ListQuerySet, pks: list[int]) -> None:
    for start in range(0, len(pks), BATCH):
        entries.filter(pk__in=pks[start : start + BATCH]).delete()


def _add(entries: ListQuerySet, clients: list[Client], listed: str, reason: str) -> None:
    new = (ListEntry(list=listed, kind=one.kind, value=one.value, reason=reason) for one in clients)
    # What somebody else adds meanwhile is there: that is all that is asked for.
    entries.bulk_create(new, batch_size=BATCH, ignore_conflicts=True)


def _refusal(source: str, many: int) -> str:
    lines = "1 line" if many == 1 else f"{many:,} lines"
    return f"{source} has {lines} that cannot be used, so nothing was imported:"


def _more(many: int) -> list[str]:
    return [f"  and {many - SHOWN:,} more"] if many > SHOWN else []
