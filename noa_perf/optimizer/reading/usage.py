"""Whether a field's name occurs anywhere on a query's way out: functions, templates, serializers, the model itself.

A search of the text, not a proof: what is found is told as a guess.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from django.template import TemplateDoesNotExist
from django.template.loader import get_template

from noa_perf.optimizer.reading import source
from noa_perf.optimizer.sightings import Sighting

MAX_TEMPLATES = 40
ENDINGS = (".html", ".txt", ".xml")
_REFERENCE = re.compile(r"""\{%\s*(?:include|extends)\s+["']([^"']+)["']""")


def mentions(sighting: Sighting, model: Any, name: str) -> bool:
    """Tell whether ``name`` occurs behind ``sighting``: in code, templates, serializers or the model's methods."""
    word = re.compile(rf"\b{re.escape(name)}\b")
    if any(word.search(text) for text in _texts(sighting)):
        return True
    if any(name in fields for fields in _serializers(sighting)):
        return True
    return any(word.search(text) for text in _methods(model))


def traceable(sighting: Sighting) -> bool:
    """Tell whether the way out leads through a template or serializer that can be read; else nothing can be said."""
    return bool(_template_names(sighting)) or any(True for _ in _serializers(sighting))


def _trees(sighting: Sighting) -> Iterator[tuple[ast.AST, dict[str, Any]]]:
    for frame in sighting.group.site.frames:
        tree = source.function_of(frame.code)
        if tree is not None and not isinstance(tree, ast.Module):
            yield tree, vars(sys.modules[frame.module]) if frame.module in sys.modules else {}
    cls, _ = source.view_class(sighting.view)
    for target in (cls, None if cls else inspect.unwrap(sighting.view) if callable(sighting.view) else None):
        if target is None:
            continue
        try:
            lines = inspect.getsource(target)
            yield ast.parse(inspect.cleandoc("\n" + lines)), vars(sys.modules[target.__module__])
        except (OSError, TypeError, SyntaxError, KeyError):
            continue


def _texts(sighting: Sighting) -> Iterator[str]:
    for tree, _ in _trees(sighting):
        yield ast.unparse(tree)
    pending = _template_names(sighting)
    read: set[str] = set()
    while pending and len(read) < MAX_TEMPLATES:
        name = pending.pop()
        if name in read:
            continue
        read.add(name)
        text = _template_source(name)
        yield text
        pending.extend(_REFERENCE.findall(text))


def _template_names(sighting: Sighting) -> list[str]:
    evaluated = sighting.group.site.node
    names = [evaluated.template] if evaluated else []
    for tree, _ in _trees(sighting):
        names += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(ENDINGS)
        ]
    cls, _ = source.view_class(sighting.view)
    model = getattr(cls, "model", None) or getattr(getattr(cls, "queryset", None), "model", None)
    suffix = getattr(cls, "template_name_suffix", None)
    if model is not None and suffix is not None and not getattr(cls, "template_name", None):
        names.append(f"{model._meta.app_label}/{model._meta.model_name}{suffix}.html")
    return names


def _template_source(name: str) -> str:
    try:
        template = get_template(name)
    except (TemplateDoesNotExist, Exception):  # a broken template is the site's business, not this search's
        return ""
    return str(getattr(getattr(template, "template", None), "source", "") or "")


def _serializers(sighting: Sighting) -> Iterator[set[str]]:
    cls, _ = source.view_class(sighting.view)
    candidates = [getattr(cls, "serializer_class", None)]
    for tree, names in _trees(sighting):
        candidates += [names.get(n.id) for n in ast.walk(tree) if isinstance(n, ast.Name)]
    for candidate in candidates:
        if inspect.isclass(candidate) and hasattr(candidate, "_declared_fields"):
            yield _fields(candidate)


def _fields(serializer: Any) -> set[str]:
    try:
        return set(serializer().fields)
    except Exception:  # a serializer that needs its context to name its fields tells those it declares
        return set(serializer._declared_fields)


def _methods(model: Any) -> Iterator[str]:
    try:
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(model)))
    except (OSError, TypeError, SyntaxError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.unparse(node)
