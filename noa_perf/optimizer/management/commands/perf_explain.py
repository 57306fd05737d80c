"""``manage.py perf_explain``: draws the plan of a statement, a queryset or a page, and says what in it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.exceptions import EmptyResultSet
from django.core.management.base import CommandParser
from django.db import connections, models
from django.db.models import QuerySet

from noa_perf.core.commands import ReportCommand, paragraph
from noa_perf.core.exceptions import CommandInputError
from noa_perf.core.findings import Finding
from noa_perf.optimizer import history, visits
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.fingerprint import fold
from noa_perf.optimizer.plans import advise, volatile
from noa_perf.optimizer.plans.advise import Asked, Reading
from noa_perf.optimizer.plans.fault import Fault

MAX_OF_A_PAGE = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """A statement to be explained, and what is to be printed above its plan."""

    asked: Asked
    params: Any
    title: str


class Command(ReportCommand):
    """Explains SQL, a queryset, a fingerprint of a page, or the dearest statements of a page."""

    help = "Draw the plan of a statement (SQL, --queryset, --url) and name what in it costs, with the cure."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the ways to name a statement."""
        parser.add_argument("sql", nargs="?", help="a statement; %%s for values that are left open")
        parser.add_argument("--queryset", metavar="EXPR", help='Python, such as "Book.objects.filter(pages__gt=9)"')
        parser.add_argument("--url", metavar="/path", help="a page, whose dearest statements are explained")
        visits.add_options(parser)
        parser.add_argument(
            "--fingerprint",
            metavar="HASH",
            help="a statement by its hash, as reports show it: of the page, or of past traffic",
        )
        parser.add_argument("--database", default="default", metavar="ALIAS", help="database of SQL (default: default)")
        parser.add_argument(
            "--analyze", action="store_true", help="run the statement in a transaction that is rolled back"
        )
        super().add_arguments(parser)

    def collect(self, **options: Any) -> dict[str, Any]:
        """Explain each statement; return ``{"statements": [...], "findings": [...]}``."""
        explained = []
        findings = []
        for wanted in _wanted(options):
            reading = _read(wanted, analyze=options["analyze"])
            found = [_finding(wanted, fault).as_dict() for fault in reading.faults]
            explained.append(
                {
                    "title": wanted.title,
                    "alias": wanted.asked.alias,
                    "sql": wanted.asked.sql,
                    "unavailable": reading.unavailable,
                    "analyzed": reading.plan.analyzed if reading.plan is not None else False,
                    "plan": reading.plan.drawn() if reading.plan is not None else [],
                    "findings": found,
                }
            )
            findings.extend(found)
        return {"statements": explained, "findings": findings}

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Draw each plan as a tree, with its findings below."""
        for number, one in enumerate(report["statements"]):
            self.stdout.write(("\n" if number else "") + self.style.MIGRATE_HEADING(one["title"]))
            self.stdout.write(paragraph(one["sql"], "  ") + "\n\n")
            if one["unavailable"]:
                self.stdout.write(self.style.WARNING(one["unavailable"]))
            for line in one["plan"]:
                self.stdout.write(line)
            self.stdout.write("")
            for finding in one["findings"]:
                self.stdout.write(self.style.ERROR(f"{finding['kind']}: {finding['subject']}"))
                self.stdout.write(paragraph(f"{finding['summary']}.", "   "))
                self.stdout.write(paragraph(f"cure: {finding['cure']}", "   ", "         "))
            if not one["findings"] and not one["unavailable"]:
                self.stdout.write(self.style.SUCCESS("Nothing to mend in this plan."))


def _wanted(options: dict[str, Any]) -> Iterator[Wanted]:
    ways = [way for way in ("sql", "queryset", "url") if options[way]]
    if len(ways) != 1 and not (options["fingerprint"] and not ways):
        raise CommandInputError(
            "Name one statement: SQL in quotes, --queryset EXPR, --fingerprint HASH or --url /path."
        )
    if options["fingerprint"] and (options["sql"] or options["queryset"]):
        raise CommandInputError("--fingerprint names a statement itself: leave SQL and --queryset out.")
    if options["database"] not in connections:
        known = ", ".join(connections)
        raise CommandInputError(f"--database {options['database']!r} is not in DATABASES. There are: {known}.")
    if options["sql"]:
        yield Wanted(Asked(options["database"], options["sql"]), None, "SQL")
    elif options["queryset"]:
        yield _of_queryset(options["queryset"])
    elif not options["url"]:
        yield _of_past(options["fingerprint"])
    else:
        visits.check([options["url"]], without_rollback=options["without_rollback"])
        yield from _of_page(options["url"], options["user"], options["fingerprint"])


def _of_queryset(expression: str) -> Wanted:
    names: dict[str, Any] = {name: getattr(models, name) for name in models.__all__}
    names |= {model.__name__: model for model in apps.get_models()}
    try:
        # What a person types at their own shell prompt, with their own rights.
        queryset = eval(expression, names)  # noqa: S307
    except Exception as error:
        raise CommandInputError(f"--queryset {expression!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(queryset, QuerySet):
        kind = type(queryset).__name__
        raise CommandInputError(f"--queryset {expression!r} is a {kind}, not a queryset: leave .get(), .count() out.")
    try:
        sql, params = queryset.query.get_compiler(queryset.db).as_sql()
    except EmptyResultSet:
        raise CommandInputError(f"--queryset {expression!r} can match nothing, so Django asks no database.") from None
    return Wanted(Asked(queryset.db, sql), params, expression)


def _of_past(fingerprint: str) -> Wanted:
    """Return the statement of a fingerprint as the rollup keeps it, with a value for each list that was folded."""
    labels = history.statement_of(fingerprint)
    sql = labels["sql"]
    whole = sql.replace("(%s, ...)", "(%s)")
    if "(...)" in whole:
        raise CommandInputError(
            f"Of {fingerprint!r} only the folded text was kept, which cannot be planned: {sql[:200]}"
        )
    if labels["alias"] not in connections:
        raise CommandInputError(
            f"{fingerprint!r} ran on database {labels['alias']!r}, which is not in DATABASES any more."
        )
    title = f"{labels['fingerprint']} on {labels['alias']}, as past traffic had it"
    return Wanted(Asked(labels["alias"], whole), None, title)


def _of_page(url: str, user: str | None, fingerprint: str | None) -> Iterator[Wanted]:
    collector = Collector()
    (request,), _ = visits.visit_all([url], user, collector)
    if visits.failed(request):
        raise CommandInputError(visits.told_of_failures([request]))
    shapes = sorted(collector.shapes.values(), key=lambda shape: -shape.seconds)
    if fingerprint:
        shapes = [shape for shape in shapes if shape.digest.startswith(fingerprint)]
        if not shapes:
            raise CommandInputError(f"No statement of {url} has a fingerprint that begins with {fingerprint!r}.")
    for shape in shapes[:MAX_OF_A_PAGE]:
        title = f"{shape.digest}: {shape.count} times, {shape.seconds * 1000:.1f} ms in {url}"
        yield Wanted(Asked.of(shape), None, title)


def _read(wanted: Wanted, *, analyze: bool) -> Reading:
    if analyze:
        if wanted.params is None and "%s" in wanted.asked.sql:
            return Reading(None, [], "ANALYZE runs the statement, and needs its values: use --queryset, or write them.")
        refused = volatile.refusal(connections[wanted.asked.alias], wanted.asked.sql)
        if refused:
            return Reading(None, [], refused)
    return advise.read(wanted.asked, wanted.params, analyze=analyze)


def _finding(wanted: Wanted, fault: Fault) -> Finding:
    return Finding(
        kind=fault.kind,
        subject=fault.subject,
        summary=fault.summary,
        cure=fault.cure,
        code=fault.code,
        change=fault.change,
        certain=fault.certain,
        alias=wanted.asked.alias,
        sql=fold(wanted.asked.sql, connections[wanted.asked.alias].vendor),
        evidence=fault.evidence,
    )
