"""Purging: what is to be forgotten, at every provider or at one."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence

from noa_perf.cdn import edges
from noa_perf.cdn.conf import settings
from noa_perf.cdn.exceptions import BadPurge, CdnError, PurgeError
from noa_perf.cdn.providers.base import Provider

logger = logging.getLogger("noa_perf.cdn")
audit = logging.getLogger("noa_perf.audit")

FAILED = "error"
"""The provider of a row that says which failed."""

TAG = re.compile(r"[a-z0-9_.-]{1,128}")
"""What every provider takes as a tag."""


def purge(
    *,
    urls: str | Iterable[str] = (),
    prefixes: str | Iterable[str] = (),
    tags: str | Iterable[str] = (),
    everything: bool = False,
    soft: bool = True,
    provider: str = "",
) -> list[dict[str, str]]:
    """Let the edges forget: addresses or paths, all that begin so, all with a tag, or everything. A string is one.

    ``soft``: what has a tag goes on being served while it is fetched anew, where the provider can. Returns for each
    provider what was done. Every provider is asked, even where one fails; then
    :class:`~noa_perf.cdn.exceptions.PurgeError` is raised and says which did.
    :class:`~noa_perf.cdn.exceptions.BadPurge` where it cannot be meant so.
    """
    wanted = (_several(urls), _several(prefixes), _several(tags))
    _refuse_nonsense(*wanted, everything)
    chosen = [edges.provider(provider)] if provider else edges.providers()
    if not chosen:
        raise BadPurge('There is no edge to purge: NOA_PERF["CDN"]["PROVIDERS"] names none.')
    return _at_each(chosen, lambda each: _steps(each, *wanted, everything, soft))


def after_release() -> list[dict[str, str]]:
    """Purge the tags of pages that link to assets, for another release is live.

    A provider that cannot be reached is logged, and undoes nothing: the release is live, and the pages link to files
    that are there still. Its row is called :data:`FAILED`.
    """
    tags = list(settings().purge)
    if not tags or not settings().providers:
        return []
    try:
        return purge(tags=tags)
    except CdnError as error:
        logger.error("noa_perf.cdn: another release is live, but edges were not purged. %s", error)
        return [{"provider": FAILED, "said": str(error)}]


def _several(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _refuse_nonsense(urls: Sequence[str], prefixes: Sequence[str], tags: Sequence[str], everything: bool) -> None:
    if not (urls or prefixes or tags or everything):
        raise BadPurge("Say what to purge: addresses, prefixes, tags, or everything.")
    if everything and (urls or prefixes or tags):
        raise BadPurge("Purge everything, or say what: not both.")
    for tag in tags:
        if not TAG.fullmatch(tag):
            raise BadPurge(f"{tag!r} is no tag: a-z, 0-9, '_', '.' and '-', 128 characters at most.")
    for address in (*urls, *prefixes):
        if not address.startswith(("/", "http://", "https://")) or re.search(r"[\s\x00-\x1f\x7f]", address):
            raise BadPurge(f"{address!r} is neither a path (/static/…) nor an address (https://…).")


def _steps(
    each: Provider, urls: list[str], prefixes: list[str], tags: list[str], everything: bool, soft: bool
) -> list[Callable[[], str]]:
    steps: list[Callable[[], str]] = []
    if everything:
        steps.append(each.purge_all)
    if urls:
        steps.append(lambda: each.purge_urls(urls))
    if prefixes:
        steps.append(lambda: each.purge_prefixes(prefixes))
    if tags:
        steps.append(lambda: each.purge_tags(tags, soft=soft and each.supports_soft))
    return steps


def _at_each(chosen: Sequence[Provider], steps: Callable[[Provider], list[Callable[[], str]]]) -> list[dict[str, str]]:
    done: list[dict[str, str]] = []
    failed: list[str] = []
    for each in chosen:
        try:
            said = ", ".join(step() for step in steps(each))
        except CdnError as error:
            failed.append(str(error))
            continue
        except Exception as error:  # somebody's own provider: the others are asked all the same
            logger.exception("noa_perf.cdn: %s was not purged", each.name)
            failed.append(f"{each.name} was not purged ({type(error).__name__}: {error}).")
            continue
        done.append({"provider": each.name, "said": said})
        audit.info("noa_perf.cdn: purged %s: %s", each.name, said)
    if failed:
        raise PurgeError(" ".join(failed))
    return done
