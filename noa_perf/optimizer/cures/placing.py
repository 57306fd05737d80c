"""A cure in the words of the place where it goes: a class attribute, an admin's method, a queryset that takes less."""

from __future__ import annotations

import ast
import re
from dataclasses import replace

from noa_perf.optimizer import lineage
from noa_perf.optimizer.callsite import APPLICATION, PACKAGE, kinds, relative
from noa_perf.optimizer.cures import statements
from noa_perf.optimizer.cures.cure import EAGER, Cure
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.reading.flow import chain
from noa_perf.optimizer.reading.source import Builder

_PATHS = re.compile(r'"([^"]+)"')


def placed(cure: Cure, builder: Builder | None, root: Group | None) -> Cure:
    """Return ``cure`` as it has to be written where ``builder`` builds the queryset that ran as ``root``."""
    if cure.form not in EAGER:
        return cure
    unfit = _unfit(cure, builder, root)
    if unfit is not None or builder is None:
        return unfit or cure
    if builder.form == "list_select_related":
        return _listed(cure, builder, root)
    if builder.form == "model":
        model = builder.text.partition("=")[2].strip() or "Model"
        code = f"queryset = {model}.{_manager(root)}{cure.code}"
        return Cure(code, f"Write {code} below `{builder.text}`, in whose place it is read: {cure.text}")
    if builder.form == "get_queryset":
        code = f"super().get_queryset(request){cure.code}"
        return Cure(code, f"Return {code} from {builder.name}.get_queryset: {cure.text}")
    if builder.form == "get_list_select_related":
        names = " and ".join(f'"{path}"' for path in _PATHS.findall(cure.code))
        return Cure(cure.code, f"Have {builder.name} return {names} as well: {cure.text}")
    if builder.form == "template":
        asked = f"`{builder.text}` in the template asks for the rows"
        return Cure(cure.code, f"{asked}: fetch them in Python, with {cure.code}, and hand them to it; {cure.text}")
    return _beside(cure, builder, root)


def unfetched(cure: Cure) -> Cure:
    """Return ``cure`` for rows that no query fetched here: they were made in memory, or handed in from outside."""
    if cure.form not in ("select_related", "prefetch_related"):
        return cure
    code = f"prefetch_related_objects(rows, {_argument(cure)})"
    return Cure(code, f"No query here fetched these rows: make a list of them, and call {code} before the loop.")


def asked_elsewhere(cure: Cure, builder: Builder | None, group: Group) -> Cure:
    """Return ``cure`` for rows that the site fetches and an installed app asks for more of, in its own way.

    The site cannot have that app read a ``to_attr``.
    """
    site = group.site
    asking = next(iter(site.frames), None)
    own = kinds[builder.file] == APPLICATION if builder is not None else site.node is not None and site.node.own
    if not own or asking is None or kinds[asking.code.co_filename] != PACKAGE or "to_attr" not in cure.code:
        return cure
    path = _PATHS.findall(cure.code)[0]
    asked = f"{relative(asking.code.co_filename)}:{asking.line}"
    text = (
        f"{asked} asks for them, filtered: its source says whether it takes what is prefetched, or a list of its own."
    )
    return Cure(f'.prefetch_related("{path}")', text, cure.form)


def _listed(cure: Cure, builder: Builder, root: Group | None) -> Cure:
    """Return the whole ``list_select_related``: what is joined already would be lost by naming the new alone."""
    kept = builder.present or (statements.joined(root.statement.sql) if root is not None else ())
    paths = dict.fromkeys([*kept, *_PATHS.findall(cure.code)])
    names = ", ".join(f'"{path}"' for path in paths)
    code = f"list_select_related = ({names}{',' if len(paths) == 1 else ''})"
    return Cure(code, f"Set {code} on {builder.name.partition('.')[0]}: {cure.text}")


def _unfit(cure: Cure, builder: Builder | None, root: Group | None) -> Cure | None:
    """Return another cure for a queryset that cannot take this one."""
    methods = _methods(builder)
    if (root is not None and lineage.combined(root.statement.sql)) or methods & {"union", "intersection", "difference"}:
        return _of_union(cure)
    if "raw" in methods or _ran(root, "RawQuerySet."):
        return _of_raw(cure)
    if methods & {"values", "values_list"}:
        text = f"name the columns that are read in it, or have {cure.code} in its place."
        return Cure(cure.code, f"values() gives no objects, whose relations could be loaded: {text}")
    return None


def _of_union(cure: Cure) -> Cure:
    if cure.form == "annotate":
        return Cure(cure.code, f"A union takes no annotate(): add {cure.code} to each queryset in it; {cure.text}")
    code = f"prefetch_related_objects(rows, {_argument(cure)})"
    return Cure(code, f"A union takes no {cure.form}(): make a list of its rows, and call {code} before the loop.")


def _of_raw(cure: Cure) -> Cure:
    if cure.form == "annotate":
        return Cure("", "A raw query takes no annotate(): compute it in its SQL, as one more column.")
    return Cure(
        f".prefetch_related({_argument(cure)})", "a raw query takes a prefetch, but no join.", "prefetch_related"
    )


def _beside(cure: Cure, builder: Builder, root: Group | None) -> Cure:
    """Say what else has to change in the expression that ``builder`` names."""
    notes = []
    if "iterator" in _methods(builder) or _ran(root, "QuerySet._iterator"):
        sized = cure.form != "prefetch_related" or "chunk_size" in builder.text
        notes.append("It goes before .iterator()" + ("." if sized else ", which needs a chunk_size=... to prefetch."))
    field = _argument(cure).strip('"').partition("__")[0]
    if cure.form == "select_related" and withheld(_expression(builder), field):
        notes.append(f'Its .only() or .defer() must let "{field}" through.')
    return replace(cure, text=" ".join([cure.text, *notes]))


def _manager(root: Group | None) -> str:
    """Return the name of the manager that a generic view asks for the rows of its model."""
    model = lineage.model_of_sql(root.statement.sql) if root is not None else None
    return str(model._default_manager.name) if model is not None else "objects"


def withheld(expression: ast.AST, field: str) -> bool:
    """Tell whether the only() or defer() of an expression leaves ``field`` out."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("only", "defer"):
            named = {ast.literal_eval(one) for one in node.args if isinstance(one, ast.Constant)}
            if (field in named) is (node.func.attr == "defer"):
                return True
    return False


def _methods(builder: Builder | None) -> set[str]:
    body = _expression(builder).body if builder is not None else []
    return set(chain(body[0].value)[0]) if body and isinstance(body[0], (ast.Expr, ast.Assign)) else set()


def _expression(builder: Builder) -> ast.Module:
    try:
        return ast.parse(builder.text)
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])


def _ran(root: Group | None, name: str) -> bool:
    return root is not None and any(one.startswith(name) for one in root.site.operations)


def _argument(cure: Cure) -> str:
    return cure.code.partition("(")[2][:-1]
