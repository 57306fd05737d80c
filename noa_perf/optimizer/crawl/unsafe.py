"""Which addresses a crawl leaves alone: those that by their name do what no rollback undoes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

from django.urls import ResolverMatch

from noa_perf.optimizer.crawl.patterns import values_of

WORDS = frozenset(
    """
    logout log-out logoff log-off signout sign-out
    delete remove destroy erase purge trash wipe drop discard
    clear flush empty truncate reset
    cancel terminate kill shutdown restart revoke disable deactivate unsubscribe uninstall
    impersonate hijack masquerade login-as switch-user
    pay charge refund send resend invite notify subscribe checkout
    approve disapprove reject accept decline confirm publish unpublish ban unban block unblock spam
    activate enable install unlock rotate regenerate
    run rerun execute trigger sync synchronize resync import reindex rebuild deploy migrate retry requeue
    """.split()
)
"""Words, or two joined by a hyphen, that end a session, destroy, stop, act as another user, decide, set work going, or
reach outside."""
STEMS = ("logout", "logoff", "signout", "delete", "destroy", "unsubscribe")
"""What a longer word may begin with, for some names are written in one: ``deleteall``."""

_IDENTIFIER = re.compile(r"[\w-]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def is_unsafe(path: str, query: str, match: ResolverMatch | None) -> bool:
    """Tell whether the URL pattern, the view, a part of the path or a parameter has one of :data:`WORDS` in its name.

    So does a parameter's value that is written as a name is (``delete_selected``). What a pattern captured is content
    (``/blog/how-to-delete-a-branch/``): there a whole segment has to be such a word, and so has a value of words.
    """
    captured = set(_captured(match))
    segments = [segment for segment in unquote(path).split("/") if segment]
    names = [segment for segment in segments if segment not in captured]
    parameters = parse_qsl(query, keep_blank_values=True)
    names += [name for name, _ in parameters] + [value for _, value in parameters if _IDENTIFIER.fullmatch(value)]
    wholes = [segment for segment in segments if segment in captured] + [value for _, value in parameters]
    if match is not None:
        names += [match.url_name or "", _name_of(match.func)]
    return any(_says(name) for name in names) or any(_words(whole) in WORDS for whole in wholes)


def _captured(match: ResolverMatch | None) -> Iterator[str]:
    for value in values_of(match):
        yield from value.split("/")


def _name_of(view: Any) -> str:
    named = getattr(view, "view_class", view)
    return str(getattr(named, "__name__", type(named).__name__))


def _words(name: str) -> str:
    return "-".join(_WORD.findall(name)).lower()


def _says(name: str) -> bool:
    words = f"-{_words(name)}-"
    return any(f"-{word}-" in words for word in WORDS) or any(f"-{stem}" in words for stem in STEMS)
