"""One finding for each place, though many routes lead there: a menu's template runs on every page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from noa_perf.core.findings import Finding
from noa_perf.optimizer.cures.duplicates import OF_A_LIST

RANKS = {"high": 2, "medium": 1, "low": 0}


def gathered(findings: Iterable[Finding]) -> list[Finding]:
    """Return ``findings`` with those of one statement, place and cure made one: the dearest speaks for all.

    Its ``evidence`` names the other ``routes``; counts and times are added up.
    """
    same: dict[tuple[object, ...], list[Finding]] = {}
    for one in findings:
        same.setdefault(_key(one), []).append(one)
    return sorted((_as_one(ones) for ones in same.values()), key=lambda one: -one.ms)


def _key(one: Finding) -> tuple[object, ...]:
    if one.code == OF_A_LIST:
        return one.kind, one.code  # each list of the admin counts so: that is one thing to know
    return one.kind, one.subject, one.alias, one.fingerprint, one.where, one.template, one.change, one.code


def _as_one(ones: list[Finding]) -> Finding:
    speaker = max(ones, key=lambda one: one.ms)
    if speaker.code == OF_A_LIST:
        speaker = replace(min(ones, key=lambda one: one.route), subject="ModelAdmin")
    routes = dict.fromkeys(one.route for one in ones if one.route != speaker.route)
    return replace(
        speaker,
        severity=max((one.severity for one in ones), key=RANKS.__getitem__),
        count=sum(one.count for one in ones),
        ms=sum(one.ms for one in ones),
        evidence={**speaker.evidence, "routes": list(routes)} if routes else speaker.evidence,
    )
