"""Names the places of a query: the line that ran it, its template's node, and the line that a person would change."""

from __future__ import annotations

from noa_perf.core.findings import Place
from noa_perf.optimizer.callsite import CODE, Frame, kinds, relative
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.reading.source import Builder


def at(group: Group) -> Place | None:
    """Return the line of code that ran ``group``: the site's own before that of an installed app."""
    nearest = group.site.nearest
    return of_frame(nearest) if nearest is not None else None


def node(group: Group) -> Place | None:
    """Return the node of a template that ran ``group``."""
    found = group.site.node
    if found is None:
        return None
    return Place(file=relative(found.path or found.template), line=found.line, name=found.template)


def change(group: Group, *, looped: bool = True) -> Place | None:
    """Return what a person would change about ``group``: a line or a template of the site before those of others.

    A template of the site is meant that runs the query itself or, where it is ``looped``, has an installed app run it.
    """
    site = group.site
    if site.own_inside is not None or site.node is None or kinds[site.node.path] not in CODE:
        return at(group)
    return node(group) if not site.inner or (looped and site.node.own) else of_frame(site.frames[0])


def of_frame(frame: Frame) -> Place:
    """Return the line of a frame."""
    return Place(file=relative(frame.code.co_filename), line=frame.line, name=frame.code.co_qualname)


def of_builder(builder: Builder | None) -> Place | None:
    """Return where a queryset is built."""
    return Place(file=relative(builder.file), line=builder.line, name=builder.name) if builder is not None else None
