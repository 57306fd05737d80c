"""Which lines of the site ran a query, read off the stack at a price that can be paid on every query.

A site's stack is 40 to 60 frames deep and nearly all of it is Django. Here only the nearest few frames of
application code count, each as code object and position (so that two calls on one line differ), and
inside a template the node that was being rendered. That is enough to tell a loop from two single accesses.

Installed apps that lie among the packages (a shop, a CMS) count apart: beyond a few frames of theirs the site's own
are looked for, and the node of its template.
"""

from __future__ import annotations

import itertools
import os
import sys
import sysconfig
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, NamedTuple

import asgiref.sync
import django
import django.core.handlers.base
import django.template.base
from django.apps import apps
from django.core.signals import setting_changed
from django.dispatch import receiver

from noa_perf.optimizer import fingerprint
from noa_perf.optimizer.fingerprint import Statement

SITE_FRAMES = 3
"""Frames of application code that make up a key: one more costs more than it tells."""
MAX_WALK = 96
"""Frames looked at for one query before giving up."""
MAX_SPOTS = 20_000
"""Places in the source that are remembered by number."""
MAX_WALK_AFTER_SITE = 24
"""Frames looked at beyond the last application frame found."""

APPLICATION, PLUMBING, TEMPLATE, BRIDGE, EDGE, PACKAGE = range(6)
CODE = frozenset({APPLICATION, PACKAGE})
"""Code that a person may have to change: the site's own, and installed apps that are no mere tools."""

LIBRARIES = frozenset(
    """
    adminsortable2 allauth axes celery_results channels compressor constance corsheaders crispy_forms
    debug_toolbar django django_celery_beat django_celery_results django_cte django_extensions django_filters
    django_htmx django_prometheus django_tables2 drf_spectacular drf_yasg dynamic_preferences easy_thumbnails
    extra_views graphene_django guardian haystack import_export imagekit jazzmin model_utils modelcluster
    modeltranslation mptt ninja nested_admin nplusone noa_perf parler phonenumber_field polymorphic
    rest_framework reversion rosetta rules silk simple_history social_django solo sorl storages strawberry_django
    taggit treebeard two_factor unfold waffle widget_tweaks zeal
    """.split()
)
"""Installed packages that are tools: what they run is laid to whoever called them."""

Key = tuple[Any, ...]

_TEMPLATE_BASE = django.template.base.__file__
_ASGIREF_SYNC = asgiref.sync.__file__
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# Beyond these no caller knows anything of the query: our own middleware, and the handler that called the view.
_EDGES = frozenset(
    {os.path.join(os.path.dirname(os.path.abspath(__file__)), "middleware.py"), django.core.handlers.base.__file__}
)


class Frame(NamedTuple):
    """A frame of application code, as kept: no locals, so that nothing is held alive."""

    code: CodeType
    line: int
    module: str


class Node(NamedTuple):
    """A template node being rendered."""

    template: str
    line: int
    contents: str
    path: str

    @property
    def own(self) -> bool:
        """Whether the template is the site's own."""
        return kinds[self.path] == APPLICATION


@dataclass(frozen=True, slots=True)
class Site:
    """Where a query came from: told once for each distinct place."""

    frames: tuple[Frame, ...]
    """Frames of application code, nearest first; empty inside a generic view or a template alone."""
    node: Node | None
    """The innermost template node, if a template ran the query."""
    operations: tuple[str, ...]
    """Qualified names of the ORM's functions between the query and the application, outermost last."""
    inner: int = 0
    """How many of the frames lie between the query and the template's node."""

    @property
    def own(self) -> Frame | None:
        """The nearest frame of the site's own code."""
        return _own(self.frames)

    @property
    def own_inside(self) -> Frame | None:
        """The same between the query and the template's node, if a template ran the query."""
        return _own(self.frames[: self.inner] if self.node is not None else self.frames)

    @property
    def nearest(self) -> Frame | None:
        """The nearest frame of the site's own code or, where it has none, of an installed app.

        What an installed app does around a template is only how it came to be rendered.
        """
        rendered = self.node is not None and kinds[self.node.path] in CODE
        return self.own or next(iter(self.frames[: self.inner] if rendered else self.frames), None)


def _own(frames: tuple[Frame, ...]) -> Frame | None:
    return next((one for one in frames if kinds[one.code.co_filename] == APPLICATION), None)


class _Kinds(dict[str, int]):
    """Remembers, by file name, whose code a frame is."""

    def __missing__(self, filename: str) -> int:
        kind = self[filename] = classify(filename)
        return kind


kinds = _Kinds()
carried: ContextVar[Key] = ContextVar("noa_perf_carried_key", default=())
carried_frames: ContextVar[tuple[Frame, ...]] = ContextVar("noa_perf_carried_frames", default=())

_application_roots: list[str] = []


def _folders_of_libraries() -> tuple[str, ...]:
    """Return where the standard library and packages lie, both as named and with links followed."""
    named = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    named += [os.path.dirname(os.__file__), os.path.dirname(os.path.dirname(os.path.abspath(django.__file__)))]
    return tuple({os.path.join(form, "") for path in named if path for form in (path, os.path.realpath(path))})


_library_roots = _folders_of_libraries()

_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


def classify(filename: str) -> int:
    """Tell whose code the file ``filename`` (as in ``co_filename``) is."""
    if filename == _TEMPLATE_BASE:
        return TEMPLATE
    if filename == _ASGIREF_SYNC:
        return BRIDGE
    if filename in _EDGES:
        return EDGE
    if filename.startswith((_OWN, "<frozen ")):
        return PLUMBING
    if filename.startswith("<"):
        return APPLICATION  # a shell or exec: the person's own lines
    if not filename.startswith(_library_roots) and not any(name in filename for name in _PACKAGE_FOLDERS):
        return APPLICATION
    return PACKAGE if filename.startswith(tuple(_roots_of_installed_apps())) else PLUMBING


def _roots_of_installed_apps() -> list[str]:
    if not _application_roots and apps.ready:
        from noa_perf.optimizer.conf import settings

        tools = LIBRARIES | {name.partition(".")[0] for name in settings().libraries}
        for config in apps.get_app_configs():
            if config.name.partition(".")[0] not in tools and config.name not in settings().libraries:
                top = sys.modules.get(config.name.partition(".")[0])
                home = os.path.dirname(top.__file__) if top is not None and top.__file__ else config.path
                _application_roots.append(os.path.join(home, ""))
    return _application_roots


_spots: dict[tuple[int, int], int] = {}
_spots_by_position: dict[tuple[int, object], tuple[int, CodeType]] = {}
_next_spot = itertools.count(1)


def _new_spot(code: CodeType, offset: int) -> int:
    """Return the number of the place in the source that the instruction at ``offset`` belongs to.

    Not the offset itself: when CPython 3.11 specialises a call, one and the same call moves from its CALL to the
    PRECALL before it. Both have the same lines and columns.
    """
    if len(_spots) >= MAX_SPOTS:
        _spots.clear()
        _spots_by_position.clear()
    position: object = next(itertools.islice(code.co_positions(), offset // 2, None), None)
    if position is None or None in position:  # type: ignore[operator]
        position = offset  # -X no_debug_ranges leaves no columns
    # The code object is kept, so that its id cannot come to mean another.
    spot, _ = _spots_by_position.setdefault((id(code), position), (next(_next_spot), code))
    _spots[id(code), offset] = spot
    return spot


Step = tuple[int, CodeType, int, Any]
"""A frame that a key was read from: how far out it lay, its code, its instruction, and the template node in it."""


Trail = tuple[tuple[Step, ...], Key]
"""A way out from a query that was walked before; where its steps are met again, so is its key."""

OWN_FRAMES = 4
"""From :func:`locate` to Django's own cursor: what lies between is the capture."""
MAX_TRAILS = 4


def locate(statement: Statement) -> Key:
    """Return what tells the place that now runs ``statement`` from any other place.

    Most queries come the way that another of their shape came. So the frames that told the place then are looked up
    by their distance, and only where one of them differs is the stack walked again: a frame that nobody looks at
    costs nothing.
    """
    steps: tuple[Step, ...]
    key: Key
    for steps, key in statement.trails:
        try:
            for distance, code, offset, node in steps:
                frame = sys._getframe(distance)
                if frame.f_code is not code or frame.f_lasti != offset:
                    break
                if node is not None and frame.f_locals.get("self") is not node:
                    break
            else:
                return key
        except ValueError:
            continue  # the stack is not that deep
    key, steps = _walk(sys._getframe(OWN_FRAMES), OWN_FRAMES)
    if steps:
        statement.trails = ((steps, key), *statement.trails[: MAX_TRAILS - 1])
    return key


def key_of(frame: FrameType | None) -> Key:
    """Return what tells the place of a query from any other place, walking out from ``frame``."""
    return _walk(frame, 0)[0]


def _walk(frame: FrameType | None, distance: int) -> tuple[Key, tuple[Step, ...]]:  # noqa: C901, PLR0912
    """Return the key, and the steps by which it can be known again; none where it depends on more than the stack.

    This is the hot path: a dict look-up and a step for each frame, and nothing else but for what is kept.
    """
    parts: list[Any] = []
    steps: list[Step] = []
    found = packaged = 0
    node_found = False
    last: FrameType | None = None
    end = distance + MAX_WALK
    while frame is not None and distance < end:
        code = frame.f_code
        kind = kinds[code.co_filename]
        last = frame
        if kind == PLUMBING:
            pass
        elif kind == APPLICATION:
            if node_found and _renders_node(frame):
                frame = frame.f_back
                distance += 1
                continue
            offset = frame.f_lasti
            parts.append(_spots.get((id(code), offset)) or _new_spot(code, offset))
            steps.append((distance, code, offset, None))
            found += 1
            if found == SITE_FRAMES:
                return tuple(parts), tuple(steps)
            end = min(end, distance + MAX_WALK_AFTER_SITE)
        elif kind == TEMPLATE:
            if not node_found and code.co_name == "render_annotated":
                node = frame.f_locals.get("self")
                if node is not None:
                    node_found = True
                    parts.append(_template_name(node))
                    parts.append(node.token.lineno if node.token else 0)
                    parts.append(node.token.contents if node.token else "")
                    steps.append((distance, code, frame.f_lasti, node))
                    end = min(end, distance + MAX_WALK_AFTER_SITE * 2)
        elif kind == PACKAGE:
            if packaged < SITE_FRAMES and not (node_found and _renders_node(frame)):
                offset = frame.f_lasti
                parts.append(_spots.get((id(code), offset)) or _new_spot(code, offset))
                steps.append((distance, code, offset, None))
                packaged += 1
                end = min(end, distance + MAX_WALK_AFTER_SITE)
        elif kind == BRIDGE:
            if code.co_name == "thread_handler":
                return (*parts, *carried.get()), ()
        else:
            break
        frame = frame.f_back
        distance += 1
    if last is not None:
        # Where the walk ended is a step too: a way that goes on from there is another way.
        steps.append((distance if frame is last else distance - 1, last.f_code, last.f_lasti, None))
    return tuple(parts), tuple(steps)


def stack_of(frame: FrameType | None) -> int:
    """Return a hash over the whole stack of application frames and template nodes from ``frame`` out."""
    parts: list[Any] = []
    while frame is not None:
        code = frame.f_code
        kind = kinds[code.co_filename]
        if kind in CODE:
            parts.append(_spots.get((id(code), frame.f_lasti)) or _new_spot(code, frame.f_lasti))
        elif kind == TEMPLATE and code.co_name == "render_annotated":
            node = frame.f_locals.get("self")
            token = getattr(node, "token", None)
            parts.append((_template_name(node), token.lineno, token.contents) if token else id(node))
        elif kind == BRIDGE and code.co_name == "thread_handler":
            parts.extend(carried.get())
            break
        elif kind == EDGE:
            break
        frame = frame.f_back
    return hash(tuple(parts))


def site_of(frame: FrameType | None) -> Site:
    """Return the :class:`Site` of the query run from ``frame``; dear, so asked once for each distinct key."""
    frames: list[Frame] = []
    found = {APPLICATION: 0, PACKAGE: 0}
    inner = 0
    operations: list[str] = []
    node: Node | None = None
    budget = MAX_WALK
    while frame is not None and budget:
        budget -= 1
        code = frame.f_code
        kind = kinds[code.co_filename]
        if kind in CODE:
            if found[kind] < SITE_FRAMES and not (node is not None and _renders_node(frame)):
                found[kind] += 1
                inner += node is None
                frames.append(Frame(code, _line(frame), frame.f_globals.get("__name__", "")))
        elif kind == TEMPLATE and code.co_name == "render_annotated":
            node = node or _node(frame.f_locals.get("self"))
        elif kind == BRIDGE and code.co_name == "thread_handler":
            frames.extend(carried_frames.get()[: max(0, SITE_FRAMES - len(frames))])
            break
        elif kind == EDGE:
            break
        elif not frames and node is None:
            operations.append(_operation(frame))
        frame = frame.f_back
    return Site(tuple(frames), node, tuple(operations), inner)


def _line(frame: FrameType) -> int:
    # Jinja compiles a template to Python under the template's own name; it alone knows the line there.
    template = frame.f_globals.get("__jinja_template__")
    return int(template.get_corresponding_lineno(frame.f_lineno)) if template is not None else frame.f_lineno


def _renders_node(frame: FrameType) -> bool:
    """Tell whether a frame of the site only renders a block tag around the template node that ran the query."""
    return frame.f_code.co_name == "render" and isinstance(frame.f_locals.get("self"), django.template.base.Node)


def carry(frame: FrameType | None) -> None:
    """Keep the place of ``frame`` for the thread that is about to work on its behalf."""
    key = key_of(frame)
    if key and key != carried.get():
        carried.set(key)
        carried_frames.set(site_of(frame).frames)


def _operation(frame: FrameType) -> str:
    name = frame.f_code.co_qualname
    # A manager's methods are generated: all share one code object, and only the closure knows which it is.
    if name.endswith(".manager_method"):
        return f"Manager.{frame.f_locals.get('name', '?')}"
    return name


def _template_name(node: Any) -> str:
    origin = getattr(node, "origin", None)
    return getattr(origin, "template_name", None) or getattr(origin, "name", None) or ""


def _node(node: Any) -> Node | None:
    token = getattr(node, "token", None)
    if token is None:
        return None
    origin = getattr(node, "origin", None)
    return Node(_template_name(node), token.lineno or 0, token.contents, str(getattr(origin, "name", "") or ""))


@lru_cache(maxsize=4_096)
def relative(filename: str) -> str:
    """Return ``filename`` as a person would type it: below the site's base, the working or the package folder."""
    from django.conf import settings

    for base in (str(getattr(settings, "BASE_DIR", "") or ""), _WORKING_FOLDER):
        below = filename[len(base) :] if base and filename.startswith(os.path.join(base, "")) else ""
        if below and not any(name in below for name in _PACKAGE_FOLDERS):
            return os.path.relpath(filename, base)
    for folder in _PACKAGE_FOLDERS:
        _, found, tail = filename.rpartition(folder + os.sep)
        if found:
            return tail
    return filename


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # deleted under our feet, as an old release is
        return ""


_WORKING_FOLDER = _working_folder()


@receiver(setting_changed)
def _start_over(*, setting: str, **kwargs: Any) -> None:
    if setting in ("INSTALLED_APPS", "NOA_PERF", "BASE_DIR"):
        kinds.clear()
        _application_roots.clear()
        relative.cache_clear()
        fingerprint.forget()
