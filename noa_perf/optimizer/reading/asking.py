"""What the line that asks for a relation says of the way there, where the SQL leaves it open.

Rows of one table may hold others of the same table: a variant its parent product. Which of them is asked for its
class, no statement tells; ``self.parent.product_class`` does.
"""

from __future__ import annotations

import ast
from dataclasses import replace

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist

from noa_perf.optimizer.callsite import Frame
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.lineage import Lineage
from noa_perf.optimizer.reading import source


def through_itself(chain: Lineage | None, group: Group) -> Lineage | None:
    """Return ``chain`` with the step from a row to another of its own model that the asking line takes first."""
    nearest = group.site.nearest
    if chain is None or len(chain.path) != 1 or nearest is None:
        return chain
    step = _before(nearest, chain.path[0])
    if not step or not _leads_back(chain.model, step):
        return chain
    return replace(chain, path=(step, *chain.path))


def _before(frame: Frame, name: str) -> str:
    """Return the attribute that ``name`` is read off at the frame's line: ``parent`` in ``self.parent.name``."""
    tree = source.function_of(frame.code)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Attribute) and node.attr == name and node.lineno == frame.line:
            return node.value.attr if isinstance(node.value, ast.Attribute) else ""
    return ""


def _leads_back(label: str, name: str) -> bool:
    model = apps.get_model(label)
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return bool(field.many_to_one or field.one_to_one) and field.related_model is model
