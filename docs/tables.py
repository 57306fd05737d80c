"""Writes the tables of docs/reference from the code: ``make format``; a test finds stale ones."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import itertools
import os
import re
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

REFERENCE = Path(__file__).parent / "reference"
PACKAGE = Path(__file__).parent.parent / "noa_perf"

Rows = list[list[str]]


def modules(name: str) -> Iterator[Any]:
    """Yield each app's module of this name (``conf``, ``checks``)."""
    for path in sorted(PACKAGE.glob(f"*/{name}.py")):
        yield importlib.import_module(f"noa_perf.{path.parent.name}.{name}")


def field_docs(cls: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass."""
    body = typing.cast(ast.ClassDef, ast.parse(inspect.getsource(cls)).body[0]).body
    return {
        field.target.id: " ".join(str(text.value.value).split())
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def settings() -> dict[str, Rows]:
    """Return a table of keys for each section of ``NOA_PERF``; the root section is called ROOT."""
    from noa_perf.cache.options import BreakerOptions, MemoryOptions, OwnOptions
    from noa_perf.core.conf import Section
    from noa_perf.pool.options import PoolOptions

    list(modules("conf"))
    sections = {name or "ROOT": [*section_rows(section.cls)] for name, section in sorted(Section.registry.items())}
    options = {
        "CACHE_OPTIONS": OwnOptions,
        "CACHE_MEMORY": MemoryOptions,
        "CACHE_BREAKER": BreakerOptions,
        "POOL_OPTIONS": PoolOptions,
    }
    tables = {name: [*section_rows(cls, str)] for name, cls in options.items()}
    return sections | tables | rate_limits() | edges()


def rate_limits() -> dict[str, Rows]:
    """Return a table of keys for each part of what POLICIES and ABUSE may hold."""
    from noa_perf.ratelimit.limits import Limit
    from noa_perf.ratelimit.policy import Match, Policy
    from noa_perf.ratelimit.rules import AbuseRule

    classes = {"POLICY": Policy, "POLICY_MATCH": Match, "POLICY_LIMITS": Limit, "ABUSE_RULE": AbuseRule}
    return {name: [*section_rows(cls, str)] for name, cls in classes.items()}


def edges() -> dict[str, Rows]:
    """Return a table of keys for what HEADERS may hold, and for the entry of each provider in PROVIDERS."""
    from noa_perf.cdn.headers import PagePolicy

    entries = {f"PROVIDER_{cls.__name__.upper()}": [*section_rows(cls.options)] for cls in providers()}
    return {"PAGE_POLICY": [*section_rows(PagePolicy)]} | entries


def providers() -> Iterator[Any]:
    """Yield each provider that the CDN app has."""
    from noa_perf.cdn.providers.base import Provider

    for path in sorted(PACKAGE.glob("cdn/providers/[a-z]*.py")):
        module = importlib.import_module(f"noa_perf.cdn.providers.{path.stem}")
        for one in vars(module).values():
            if inspect.isclass(one) and issubclass(one, Provider) and not inspect.isabstract(one):
                yield one


# Fields that are no keys of a dict in the settings.
UNWRITTEN = {"name", "owner", "match"}
# What a person writes, where the code has what is made of it.
WRITTEN = {
    "Rate": "str | tuple",
    "tuple[Limit, ...]": "str | dict | list",
    "By": "str | list | Callable",
    "Cost": "int | Callable",
    "Predicate | None": "str | Callable | None",
    "frozenset[str]": "list[str]",
    "frozenset[int]": "list[int]",
}


def section_rows(cls: type, written: Callable[[str], str] = str.upper) -> Iterator[list[str]]:
    """Yield key (as ``written`` in settings), type, default and meaning of each field that a person writes."""
    docs = field_docs(cls)
    for field in dataclasses.fields(cls):
        if field.init and field.name not in UNWRITTEN:
            meaning = docs[field.name].replace("``", "`")
            yield [f"`{written(field.name)}`", f"`{kind(cls, field)}`", default(cls, field), meaning]


def kind(cls: type, field: dataclasses.Field[Any]) -> str:
    """Return a field's type, with the choices that an alias stands for."""
    from noa_perf.ratelimit.rules import DURATIONS, AbuseRule

    if cls is AbuseRule and field.name in DURATIONS:
        return "str | float"
    alias = getattr(sys.modules[cls.__module__], str(field.type), None)
    if typing.get_origin(alias) is typing.Literal:
        return f"Literal[{', '.join(map(repr, typing.get_args(alias)))}]"
    return WRITTEN.get(str(field.type), str(field.type))


def default(cls: type, field: dataclasses.Field[Any]) -> str:
    """Return a field's default as it would be written."""
    from noa_perf.ratelimit.rates import span
    from noa_perf.ratelimit.rules import DURATIONS, AbuseRule

    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if value is dataclasses.MISSING:
        return "none: it has to be given"
    if cls is AbuseRule and field.name in DURATIONS:
        value = span(value)
    return f"`{[] if value == frozenset() else value!r}`"


def commands() -> dict[str, Rows]:
    """Return a table of options for each management command of noa_perf."""
    own = {name: app for name, app in sorted(get_commands().items()) if str(app).startswith("noa_perf")}
    return {name: list(option_rows(load_command_class(app, name), name)) for name, app in own.items()}


def option_rows(command: BaseCommand, name: str) -> Iterator[list[str]]:
    """Yield option, default and help; Django's own options, which every command has, are left out."""
    shared = {action.dest for action in BaseCommand().create_parser("manage.py", name)._actions}
    for action in command.create_parser("manage.py", name)._actions:
        if action.dest not in shared:
            written = ", ".join(f"`{option}`" for option in action.option_strings) or f"`{action.dest}`"
            values = f"one of {', '.join(f'`{each}`' for each in action.choices)}" if action.choices else ""
            meaning = "; ".join(filter(None, [values, _text(action)]))
            yield [written, f"`{action.default}`", meaning]


def _text(action: argparse.Action) -> str:
    """Return an option's help as Markdown, in which `<hash>` would be a tag of HTML."""
    return (action.help or "").replace("%(default)s", str(action.default)).replace("<", "&lt;")


def checks() -> dict[str, Rows]:
    """Return a table of ids for each app's system checks, and one for those on ``NOA_PERF`` itself."""
    from noa_perf.core.checks import SETTINGS_CHECKS

    found = {"noa_perf": [[f"`noa_perf.{number}`", text] for number, text in SETTINGS_CHECKS.items()]}
    for module in modules("checks"):
        if hasattr(module, "LABEL"):
            rows = [[f"`{module.LABEL}.{number}`", text] for number, text in module.CHECKS.items()]
            found[module.LABEL] = rows
    return found


def metrics() -> dict[str, Rows]:
    """Return a table of all metrics."""
    from noa_perf.metrics.instruments import INSTRUMENTS

    rows = [
        [f"`{one.full_name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels) or "none", one.help]
        for one in sorted(INSTRUMENTS, key=lambda one: one.name)
    ]
    return {"noa_perf_metrics": rows}


def signals() -> dict[str, Rows]:
    """Return a table of the signals of each app that has some."""
    return {f"{module.__name__.split('.')[1]}_signals": list(signal_rows(module)) for module in modules("signals")}


def signal_rows(module: Any) -> Iterator[list[str]]:
    """Yield each signal of a module with the docstring below it."""
    for made, text in itertools.pairwise(ast.parse(inspect.getsource(module)).body):
        if isinstance(made, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            name = typing.cast(ast.Name, made.targets[0]).id
            words = re.sub(r":class:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", " ".join(str(text.value.value).split()))
            yield [f"`{module.__name__}.{name}`", words.replace("``", "`")]


def findings() -> dict[str, Rows]:
    """Return a table of all kinds of findings by the databases on which each can be seen."""
    from noa_perf.optimizer.catalogue import CATALOGUE

    rows = [[f"`{kind}`", one.meaning, *(seen.value for seen in one.seen)] for kind, one in CATALOGUE.items()]
    return {"findings": rows}


PAGES = {
    "settings": (settings, ["Key", "Type", "Default", "Meaning"]),
    "commands": (commands, ["Option", "Default", "Meaning"]),
    "checks": (checks, ["Id", "Meaning"]),
    "findings": (findings, ["Kind", "Meaning", "PostgreSQL", "MariaDB", "MySQL", "SQLite"]),
    "metrics": (metrics, ["Name", "Kind", "Labels", "Meaning"]),
    "signals": (signals, ["Signal", "Sent"]),
}


def table(headers: list[str], rows: Rows) -> str:
    """Return rows as a Markdown table."""
    lines = [headers, ["---"] * len(headers), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def expected(page: str) -> dict[str, str]:
    """Return the tables that a page has to hold, by name."""
    make, headers = PAGES[page]
    return {name: table(headers, rows) for name, rows in make().items()}


def block(name: str, body: str) -> str:
    """Return a table between the marks by which it is found again."""
    return f"<!-- table {name} -->\n{body}\n<!-- end -->"


BLOCK = re.compile(r"<!-- table (\w+) -->\n(.*?)\n<!-- end -->", re.DOTALL)


def written(page: str) -> dict[str, str]:
    """Return the tables that a page holds, by name."""
    return dict(BLOCK.findall((REFERENCE / f"{page}.md").read_text()))


def main() -> None:
    """Bring each page's tables up to date; a table that has no place yet goes to the page's end."""
    for page in PAGES:
        path = REFERENCE / f"{page}.md"
        text, tables = path.read_text(), expected(page)
        for name, body in BLOCK.findall(text):
            text = text.replace(block(name, body), block(name, tables.get(name, body)))
        for name in tables.keys() - written(page).keys():
            text += f"\n## `{name}`\n\n{block(name, tables[name])}\n"
        path.write_text(text)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    main()
