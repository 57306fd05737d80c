"""The allowlist: N+1 that the site has decided to live with, by relation, by file or by fingerprint."""

from __future__ import annotations

import re
from fnmatch import fnmatch

from noa_perf.optimizer.callsite import relative
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.groups import Group

_RELATION = re.compile(r"^\w+(\.objects)?\.\w+(\(\))?$")


def malformed(entry: str) -> bool:
    """Tell whether ``entry`` has none of the three forms."""
    prefix, colon, rest = entry.partition(":")
    if colon:
        return prefix not in ("path", "fingerprint") or not rest
    return _RELATION.match(entry) is None


def matching(entries: tuple[str, ...], *, subject: str, path: str, digest: str) -> str | None:
    """Return the first of ``entries`` that allows an N+1 with these marks, or None."""
    for entry in entries:
        prefix, colon, rest = entry.partition(":")
        if not colon and entry == subject:
            return entry
        if prefix == "path" and path and fnmatch(path, rest):
            return entry
        if prefix == "fingerprint" and digest.startswith(rest):
            return entry
    return None


def entry_for(group: Group, more: tuple[str, ...] = ()) -> str | None:
    """Return the entry of ``ALLOW``, or of ``more``, that covers ``group``; None if there is none."""
    entries = (*settings().allow, *more)
    if not entries:
        return None
    nearest = group.site.nearest
    return matching(
        entries,
        subject=group.relation.subject if group.relation else "",
        path=relative(nearest.code.co_filename) if nearest is not None else "",
        digest=group.statement.digest,
    )
