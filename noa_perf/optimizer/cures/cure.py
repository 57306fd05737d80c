"""What a cure is."""

from __future__ import annotations

from dataclasses import dataclass

EAGER = frozenset({"select_related", "prefetch_related", "annotate", "children"})
"""Forms that add a method to the queryset that fetches the rows."""


@dataclass(frozen=True, slots=True)
class Cure:
    """What to change.

    ``code`` is to be added. Where ``form`` names a way of loading eagerly, ``text`` only gives the reason, for the
    report knows the place; elsewhere it is the whole sentence. Form ``loop`` changes the loop, not the queryset of its
    rows.
    """

    code: str
    text: str
    form: str = ""
