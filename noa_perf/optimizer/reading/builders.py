"""Finds the line that builds a queryset: in the frames that evaluated it, then in the view, at last by a guess."""

from __future__ import annotations

import ast
import inspect
import linecache
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from noa_perf.optimizer.callsite import CODE, Frame, Site, kinds
from noa_perf.optimizer.reading import source, templates
from noa_perf.optimizer.reading.flow import Flow, Wanted, flow_of
from noa_perf.optimizer.reading.source import Builder


def find(site: Site, view: Any, wanted: Wanted, form: str = "") -> Builder | None:
    """Return where the queryset that was evaluated at ``site``, on behalf of ``view``, is built.

    ``form`` is the way of loading that is to be added there: a ModelAdmin has an attribute of its own for joins.
    """
    hint = _hint(site)
    in_frames = (one for frame in site.frames if (one := _in_frame(frame, wanted, hint)) is not None)
    found = next(in_frames, None) or templates.asked(site.node, wanted) or _in_view(view, wanted, form, hint)
    if found is not None and found.certain:
        return found
    return templates.handed(site.node, wanted) or found or next(_guesses(site.frames, wanted), None)


def _hint(site: Site) -> str:
    """Return the text of the template's node or, of a template that is compiled to Python, the line."""
    if site.node is not None:
        return site.node.contents
    nearest = site.frames[0] if site.frames else None
    compiled = nearest is not None and not nearest.code.co_filename.endswith(".py")
    return linecache.getline(nearest.code.co_filename, nearest.line) if nearest is not None and compiled else ""


def of_loop(site: Site, wanted: Wanted) -> Builder | None:
    """Return what the loop around ``site`` runs over, if it is such a queryset, built in a known place."""
    for frame in site.frames:
        flow = flow_of(frame.code, frame.module, wanted)
        for over in source.loops_at(flow.tree, frame.line) if flow is not None else ():
            found = flow.origin([over]).best(frame.line) if flow is not None else None
            if found is not None:
                return found
    return None


def of_admin(view: Any) -> Builder | None:
    """Return the class of the ModelAdmin behind ``view``, if there is one and it is not Django's."""
    cls, admin = source.view_class(view)
    return _class_line(cls, "class") if cls is not None and admin else None


def _in_frame(frame: Frame, wanted: Wanted, hint: str) -> Builder | None:
    flow = flow_of(frame.code, frame.module, wanted)
    if flow is None:
        return None
    statement = source.statement_at(flow.tree, frame.line)
    parts = source.head(statement) if statement is not None else []
    hinted = flow.origin(flow.hinted(hint)).best(frame.line) if hint else None
    return hinted or flow.origin(parts).best(frame.line)


def _guesses(frames: tuple[Frame, ...], wanted: Wanted) -> Iterator[Builder]:
    """Yield what is built in a frame for unknown ends; not where the rows were handed in by the caller."""
    for frame in frames:
        flow = flow_of(frame.code, frame.module, wanted)
        statement = source.statement_at(flow.tree, frame.line) if flow is not None else None
        if flow is None or statement is None or flow.origin(source.head(statement)).outside:
            continue
        found = flow.everything().best(frame.line)
        if found is not None:
            yield replace(found, certain=False)


def _in_view(view: Any, wanted: Wanted, form: str, hint: str) -> Builder | None:
    """Return the class attribute, method or line of ``view`` that builds the queryset."""
    cls, admin = source.view_class(view)
    if admin:
        return _in_admin(view, wanted, form)
    if cls is None:
        return _in_function(view, wanted, hint)
    shown = _flow_of_method(cls, "get_context_data", wanted)
    if shown is not None and (named := shown.origin(shown.hinted(hint)).best()) is not None:
        return named
    built = _main(cls, wanted)
    if built is not None and shown is not None and shown.everything().found and not _shows_main(cls, hint):
        return replace(built, certain=False)
    return built


def _main(cls: type, wanted: Wanted) -> Builder | None:
    """Return what builds the queryset that a generic view is about."""
    own = _own_method(cls, "get_queryset")
    if own is None:
        return _model_attribute(cls, wanted)
    # Its own method that asks no parent for the queryset builds it, perhaps in a way not understood here.
    return _in_function(own, wanted) or (_model_attribute(cls, wanted) if _asks_parent(own) else _whole(own))


def _shows_main(cls: type, hint: str) -> bool:
    """Tell whether a template's node loops over the queryset that a generic view is about, or there is no node."""
    model = getattr(cls, "model", None) or getattr(getattr(cls, "queryset", None), "model", None)
    named = getattr(cls, "context_object_name", None) or f"{getattr(model, '__name__', '').lower()}_list"
    return not hint or bool({"object_list", "page_obj", "object", named} & set(re.findall(r"\w+", hint)))


def _in_function(function: Any, wanted: Wanted, hint: str = "") -> Builder | None:
    """Return what ``function`` hands to a template under the name in ``hint``, or returns, or builds at all."""
    function = inspect.unwrap(function) if callable(function) else None
    code = getattr(function, "__code__", None)
    if code is None or kinds[code.co_filename] not in CODE:
        return None
    flow = flow_of(code, function.__module__, wanted)
    if flow is None:
        return None
    known = flow.origin(flow.hinted(hint)).best() or flow.returned().best()
    guess = flow.everything().best() if known is None else None
    return replace(guess, certain=False) if guess is not None else known


def _flow_of_method(cls: type, name: str, wanted: Wanted) -> Flow | None:
    method = _own_method(cls, name)
    return flow_of(method.__code__, method.__module__, wanted) if method is not None else None


def _in_admin(view: Any, wanted: Wanted, form: str) -> Builder | None:
    """Return what fetches the rows of a ModelAdmin or, on the page of one object, of one of its inlines."""
    admin = view.model_admin
    if _same(admin.model, wanted.model):
        listed = form == "select_related" and getattr(view, "__name__", "") == "changelist_view"
        return _list_select_related(type(admin)) if listed else _get_queryset(type(admin), wanted)
    inline = next((one for one in admin.inlines if _same(one.model, wanted.model)), None)
    return _get_queryset(inline, wanted) if inline is not None else None


def _same(one: Any, label: str) -> bool:
    return label in (one._meta.label, one._meta.concrete_model._meta.label)


def _list_select_related(cls: type) -> Builder | None:
    method = _own_method(cls, "get_list_select_related")
    if method is not None:
        return replace(_whole(method), form="get_list_select_related")
    declared = getattr(cls, "list_select_related", False)
    found = _attribute(cls, "list_select_related") or _class_line(cls, "list_select_related")
    names = tuple(declared) if isinstance(declared, (tuple, list)) else ()
    return replace(found, present=names) if found is not None else None


def _get_queryset(cls: type, wanted: Wanted) -> Builder | None:
    method = _own_method(cls, "get_queryset")
    built = _in_function(method, wanted) if method is not None else None
    if method is None or built is not None:
        return built or _class_line(cls, "get_queryset")
    return replace(_whole(method), certain=True)


def _asks_parent(method: Any) -> bool:
    return bool({"get_queryset", "queryset"} & set(method.__code__.co_names))


def _whole(method: Any) -> Builder:
    code = method.__code__
    line = code.co_firstlineno
    return Builder(code.co_filename, line, line, code.co_qualname, certain=False, form="returned")


def _model_attribute(cls: type, wanted: Wanted) -> Builder | None:
    """Return ``queryset`` or ``model`` of a generic view if it is about that model."""
    about = getattr(getattr(cls, "queryset", None), "model", None) or getattr(cls, "model", None)
    label = getattr(getattr(about, "_meta", None), "label", "")
    return (_attribute(cls, "queryset") or _attribute(cls, "model")) if label == wanted.model else None


def _own_method(cls: type, name: str) -> Any:
    for owner in cls.__mro__:
        if name in vars(owner):
            method = vars(owner)[name]
            code = getattr(method, "__code__", None)
            return method if code is not None and kinds[code.co_filename] in CODE else None
    return None


def _attribute(cls: type, name: str) -> Builder | None:
    """Return the line of the class body, of ``cls`` or a parent, that sets ``name``."""
    owner = next((one for one in cls.__mro__ if name in vars(one)), None)
    path = source.path_of(owner) if owner is not None else ""
    node = source.class_node(path, owner) if owner is not None and kinds[path] in CODE else None
    for statement in node.body if node is not None else ():
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if owner is not None and any(isinstance(one, ast.Name) and one.id == name for one in targets):
            text, end = ast.unparse(statement), statement.end_lineno or statement.lineno
            return Builder(path, statement.lineno, end, f"{owner.__name__}.{name}", True, name, text)
    return None


def _class_line(cls: type, form: str) -> Builder | None:
    path = source.path_of(cls)
    node = source.class_node(path, cls)
    if node is None or kinds[path] not in CODE:
        return None
    return Builder(path, node.lineno, node.end_lineno or node.lineno, cls.__name__, True, form, "")
