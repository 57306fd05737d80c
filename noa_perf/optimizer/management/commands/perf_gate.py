"""``manage.py perf_gate``: fails a build in which an endpoint asks more of the database than its baseline says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from noa_perf.core import commands
from noa_perf.core.commands import ReportCommand, paragraph, table
from noa_perf.core.exceptions import CommandInputError
from noa_perf.optimizer import visits
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.crawl import walk
from noa_perf.optimizer.crawl.frontier import Frontier
from noa_perf.optimizer.gate import baseline, compare, measure, output
from noa_perf.optimizer.gate.baseline import Baseline
from noa_perf.optimizer.gate.measure import Endpoint, Measured

SCALE_FACTOR = 3.0


class Command(ReportCommand):
    """Asks for endpoints and compares their queries and plans with a baseline, or writes that."""

    help = "Compare what endpoints ask the database with a committed baseline; exit 1 with the reason if it is more."
    fail_level = "low"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--write``, the ways to name endpoints, and the outputs."""
        parser.add_argument("--write", action="store_true", help="write the baseline, or bring it up to date")
        parser.add_argument(
            "--baseline", default=baseline.DEFAULT, metavar="FILE", help=f"its file (default: {baseline.DEFAULT})"
        )
        parser.add_argument(
            "--url", action="append", metavar="/path", help="an endpoint; may be given again (default: the baseline's)"
        )
        parser.add_argument("--crawl", metavar="N", help="walk the site, as perf_report does, for up to N endpoints")
        parser.add_argument(
            "--skip", action="append", metavar="GLOB", help="for --crawl: leave such paths alone; may be given again"
        )
        visits.add_options(parser)
        parser.add_argument(
            "--analyze", action="store_true", help="have the databases take their statistics anew first"
        )
        parser.add_argument(
            "--scale-factor",
            type=float,
            default=SCALE_FACTOR,
            metavar="N",
            help=f"leave plans alone where a table's rows differ by more than this factor (default: {SCALE_FACTOR:g})",
        )
        parser.add_argument("--junit", metavar="FILE", help="write the verdict as JUnit XML, too")
        parser.add_argument("--annotations", choices=("github",), help="print the verdict as annotations, too")
        super().add_arguments(parser)

    def collect(self, **options: Any) -> dict[str, Any]:
        """Measure, then write or compare."""
        if options["scale_factor"] < 1:
            raise CommandInputError(f"--scale-factor {options['scale_factor']:g} allows nothing: give 1 or more.")
        path = Path(options["baseline"])
        fresh = options["write"] and not path.exists()
        before = Baseline() if fresh else baseline.read(path)
        visits.check(options["url"] or [], without_rollback=options["without_rollback"])
        refused = _analyze() if options["analyze"] else {}
        measured, unreachable = measure.measure(_wanted(before, options))
        measured = _judgeable(measured, before, options)
        databases = measure.databases(measured)
        gone = sorted(one.endpoint.key for one in measured if one.gone)
        if options["write"]:
            made = _write(path, before, measured, databases, options)
        else:
            made = _compare(before, measured, databases, options)
        report = {
            "baseline": str(path),
            "written": options["write"],
            "databases": databases,
            "endpoints": [_row(one, before) for one in measured] if not options["write"] else made.pop("endpoints"),
            "gone": gone,
            "unreachable": unreachable,
            "not_analyzed": refused,
            **made,
        }
        self._tell_machines(report, [one.endpoint.key for one in measured], options)
        return report

    def _tell_machines(self, report: dict[str, Any], names: list[str], options: dict[str, Any]) -> None:
        if options["junit"]:
            _save(Path(options["junit"]), output.junit(names, report["findings"]), "--junit")
        if options["annotations"]:
            # JSON stands alone on standard output; GitHub reads both.
            stream = self.stderr if options["format"] == "json" else self.stdout
            for line in output.github(report["findings"]):
                stream.write(line, lambda text: text)

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write a line for each endpoint that differs, and the reasons below."""
        for alias in report["unreachable"]:
            self.stdout.write(
                self.style.WARNING(f"Database {alias!r} cannot be reached; nothing is rolled back there.")
            )
        for alias, why in report["not_analyzed"].items():
            self.stdout.write(self.style.WARNING(paragraph(f"Database {alias!r} took no statistics: {why}", "", "  ")))
        if report["written"]:
            self._render_written(report)
            return
        rows = [
            (one["endpoint"], "–" if one["before"] is None else one["before"], one["now"], _sign(one))
            for one in report["endpoints"]
        ]
        self.stdout.write(table(("endpoint", "baseline", "now", ""), rows, "<>>") + "\n\n")
        for line in report["not_compared"]:
            self.stdout.write(self.style.WARNING(paragraph(line, "", "  ")))
        for line in _told(report):
            self.stdout.write(paragraph(line, "", "  "))
        for number, finding in enumerate(report["findings"], 1):
            self._render_finding(number, finding)
        if not report["findings"]:
            self.stdout.write(self.style.SUCCESS("No endpoint is worse than its baseline."))

    def _render_written(self, report: dict[str, Any]) -> None:
        for one in report["left_out"]:
            self.stdout.write(self.style.WARNING(f"Left out, for the site could not answer: {one}"))
        for one in report["kept"]:
            self.stdout.write(self.style.WARNING(f"Left as it was, for the site could not answer: {one}"))
        for one in report["gone"]:
            self.stdout.write(f"Gone, and taken out: {one}")
        number = len(report["endpoints"])
        self.stdout.write(self.style.SUCCESS(f"{report['baseline']} holds {number} endpoints: commit it."))

    def _render_finding(self, number: int, finding: dict[str, Any]) -> None:
        self.stdout.write(self.style.ERROR(f"{number}. {finding['kind']}: {finding['subject']}"))
        self.stdout.write(paragraph(finding["summary"], "   "))
        self.stdout.write(paragraph(f"cure: {finding['cure']}", "   ", "         "))
        change = finding["change"]
        if change:
            guess = "" if finding["certain"] else " (a guess)"
            self.stdout.write(f"   change: {change['file']}:{change['line']}{guess}")
        self.stdout.write("")


def _wanted(before: Baseline, options: dict[str, Any]) -> list[Endpoint]:
    """Return the endpoints to ask for: those that are named or found by a crawl, else the baseline's."""
    urls, skip, user = options["url"] or [], options["skip"] or [], options["user"] or ""
    if options["crawl"] is None:
        if skip:
            raise CommandInputError("--skip leaves pages of a crawl alone: add --crawl 50.")
        if urls:
            return [Endpoint(url, user) for url in urls]
        if not before.endpoints:
            raise CommandInputError(
                f"The baseline has no endpoints. Name some: {baseline.WRITE} --url / (or --crawl 50)."
            )
        return before.asked()
    plan = walk.plan(options["crawl"], urls, skip)
    with visits.visiting(user or None, Collector()) as (visitor, _):
        walked = walk.walk(plan, visitor, walk.Walk(Frontier(plan.skip)))
        found = [
            Endpoint(record["url"], user) for record in commands.progress(walked, total=plan.pages, label="Crawling")
        ]
    return [*found, *(one for one in before.asked() if one not in found)]


def _analyze() -> dict[str, str]:
    done, refused = measure.analyze()
    if refused and not done:
        told = " ".join(f"{alias}: {why}." for alias, why in refused.items())
        raise CommandInputError(f"--analyze: no database took its statistics anew. {told} Leave it out, or mend that.")
    return refused


def _judgeable(measured: list[Measured], before: Baseline, options: dict[str, Any]) -> list[Measured]:
    """Return what can be compared or written; raise CommandInputError where that is nothing."""
    named = [] if options["crawl"] is not None else options["url"] or []
    unknown = [one for one in measured if one.gone and one.endpoint.key not in before.endpoints]
    if mistaken := [one.endpoint.url for one in unknown if one.endpoint.url in named]:
        raise CommandInputError(f"--url {mistaken[0]}: the site has no such address.")
    judgeable = [one for one in measured if one not in unknown]
    if all(one.gone for one in judgeable):
        raise CommandInputError(
            f"None of the {len(judgeable)} endpoints is an address of this site. Is ROOT_URLCONF "
            f"({settings.ROOT_URLCONF!r}) the right one?"
        )
    if options["write"] and all(one.gone or one.failed for one in judgeable):
        told = ", ".join(f"{one.endpoint.key} ({one.error or one.status})" for one in judgeable if one.failed)
        raise CommandInputError(f"Nothing was written, for the site could not answer: {told}")
    return judgeable


def _write(
    path: Path,
    before: Baseline,
    measured: list[Measured],
    databases: dict[str, Any],
    options: dict[str, Any],
) -> dict[str, Any]:
    kept = before.endpoints.keys() - {one.endpoint.key for one in measured}
    differ = compare.barred_from(before.databases, databases, options["scale_factor"])
    if kept and differ:
        raise CommandInputError(
            f"Only some endpoints were named, and the others' plans are of another database ({' '.join(differ)}). "
            f"Write all of them: {baseline.WRITE}."
        )
    if differ:
        before.databases = {}
    before.update(measured, databases)
    _save(path, before.text(), "--baseline")
    failed = {one.endpoint.key: f"{one.endpoint.key} ({one.error or one.status})" for one in measured if one.failed}
    return {
        "endpoints": sorted(before.endpoints),
        "findings": [],
        "left_out": [told for key, told in failed.items() if key not in before.endpoints],
        "kept": [told for key, told in failed.items() if key in before.endpoints],
    }


def _save(path: Path, text: str, option: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandInputError(
            f"{option} {path} cannot be written: {error}. Name a file in a folder that is."
        ) from error


def _compare(
    before: Baseline, measured: list[Measured], databases: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    made = compare.compare(before, measured, databases, options["scale_factor"])
    return {
        "findings": [finding.as_dict() for finding in made.worse],
        "better": made.better,
        "new": made.new,
        "changed_plans": made.plans,
        "not_compared": made.not_compared,
    }


def _row(one: Measured, before: Baseline) -> dict[str, Any]:
    then = before.endpoints.get(one.endpoint.key)
    return {
        "endpoint": one.endpoint.key,
        "route": one.route,
        "status": one.status,
        "before": then["queries"] if then is not None else None,
        "now": one.queries,
    }


def _sign(one: dict[str, Any]) -> str:
    if one["before"] is None:
        return "new"
    more = one["now"] - one["before"]
    return f"{more:+}" if more else ""


def _told(report: dict[str, Any]) -> Iterator[str]:
    """Yield what differs and does not fail."""
    for one in report["changed_plans"]:
        yield f"Another plan: {one}."
    for one in report["new"]:
        url, _, user = one.partition(" as ")
        yield f"New, and in no baseline yet: {one}. Add it: {baseline.WRITE} --url {url}{f' --as {user}' * bool(user)}"
    for one in report["better"]:
        yield f"Better: {one}. Tighten it: {baseline.WRITE}"
