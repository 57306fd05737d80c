"""``manage.py perf_report``: what is slow, where, and how to mend it: in pages asked for now, or in past traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import CommandParser

from noa_perf.core.commands import ReportCommand, paragraph, progress, table
from noa_perf.core.exceptions import CommandInputError
from noa_perf.optimizer import by_place, capture, history, visits
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.crawl import walk
from noa_perf.optimizer.crawl.frontier import REASONS, Frontier

HISTORY: dict[str, tuple[tuple[str, str], Callable[[dict[str, Any]], str]]] = {
    "route": (
        ("requests", "route"),
        lambda one: f"{one.get('route', '')} ({one.get('database_ms', 0.0) / (one['ms'] or 1.0):.0%} in the database)",
    ),
    "fingerprint": (("calls", "statement"), lambda one: f"{one.get('fingerprint', '')} {one.get('sql', '')}"[:100]),
    "nplusone": (
        ("times", "N+1"),
        lambda one: " ".join(str(one.get(key, "")) for key in ("subject", "place", "route", "code")),
    ),
}


class Command(ReportCommand):
    """Drives the site through Django's test client, its writes rolled back, and reports what it finds."""

    help = "Request pages of this site and report N+1, duplicates, misuse and slow plans, with line and cure."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--url``, ``--crawl``, ``--as`` and their like."""
        parser.add_argument("--url", action="append", metavar="/path", help="a page to request; may be given again")
        parser.add_argument(
            "--crawl",
            metavar="N",
            help="walk the site: up to N pages, from --url, or from / and every URL pattern without arguments",
        )
        parser.add_argument(
            "--skip", action="append", metavar="GLOB", help="for --crawl: leave such paths alone; may be given again"
        )
        parser.add_argument(
            "--by", choices=tuple(history.SERIES), help="report past traffic from the rollup, added up so"
        )
        parser.add_argument("--since", default="1h", metavar="SPAN", help="for --by: 15m, 6h, 7d (default: 1h)")
        visits.add_options(parser)
        super().add_arguments(parser)

    def collect(self, **options: Any) -> dict[str, Any]:
        """Request each page; return the requests, the findings, and what stood in the way."""
        if options["by"]:
            return _of_past(options)
        urls, skip = options["url"] or [], options["skip"] or []
        plan = walk.plan(options["crawl"], urls, skip) if options["crawl"] is not None else None
        if plan is None and skip:
            raise CommandInputError("--skip leaves pages of a crawl alone: add --crawl 50.")
        if plan is None and not urls:
            raise CommandInputError("Nothing to request. Name a page: --url / (it may be given again), or --crawl 50.")
        visits.check(urls, without_rollback=options["without_rollback"])
        return _of_now(urls, plan, options["user"])

    def obstacle(self, report: dict[str, Any]) -> str:
        """Tell which pages could not be reported on: any that was named, or all of a crawl."""
        requests = report.get("requests", ())
        failed = [one for one in requests if visits.failed(one)]
        if not failed or ("crawl" in report and len(failed) < len(requests)):
            return ""
        return visits.told_of_failures(failed)

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write the requests as a table and each finding as a paragraph."""
        if options["by"]:
            self._render_history(report)
            return
        self.stdout.write((_by_pattern(report) if "crawl" in report else _by_page(report)) + "\n\n")
        for line in _left_alone(report):
            self.stdout.write(line)
        for style, text in _obstacles(report):
            self.stdout.write(getattr(self.style, style)(text))
        if not report["findings"] and not report["failures"]:
            self.stdout.write(self.style.SUCCESS("Nothing to mend in these pages."))
        for number, finding in enumerate(report["findings"], 1):
            self._render_finding(number, finding)
        for entry in report["unused_allowances"]:
            self.stdout.write(f'Not needed by these pages: {entry!r} in NOA_PERF["OPTIMIZER"]["ALLOW"].')

    def _render_history(self, report: dict[str, Any]) -> None:
        if not report["rows"]:
            self.stdout.write(f"Nothing was counted in the last {report['since']}.")
            return
        headers, name = HISTORY[report["by"]]
        rows = [
            (
                f"{one['share']:.0%}",
                f"{one['ms']:,.0f}",
                f"{one['count']:,}",
                f"{one['mean_ms']:.1f}",
                "" if one["p95_ms"] is None else f"{one['p95_ms']:.1f}",
                name(one),
            )
            for one in report["rows"]
        ]
        self.stdout.write(table(("share", "total ms", headers[0], "mean ms", "p95 ms", headers[1]), rows, ">>>>><"))

    def _render_finding(self, number: int, finding: dict[str, Any]) -> None:
        style = {"high": self.style.ERROR, "medium": self.style.WARNING}.get(finding["severity"], self.style.NOTICE)
        self.stdout.write(style(f"{number}. [{finding['severity']}] {finding['kind']}: {finding['subject']}"))
        self.stdout.write(paragraph(finding["summary"], "   "))
        self.stdout.write(paragraph(f"cure: {finding['cure']}", "   ", "         "))
        cost = f"{finding['count']} queries, {finding['ms']:.1f} ms"
        sure = "" if finding["certain"] else " (a guess)"
        change = finding["change"]
        where = f"; change {change['file']}:{change['line']}{sure}" if change else ""
        more = len(finding["evidence"].get("routes", ()))
        route = finding["route"] + (f" and {more} more" if more else "")
        self.stdout.write(paragraph(f"cost: {cost} in {route}{where}", "   ", "         ") + "\n")


def _of_past(options: dict[str, Any]) -> dict[str, Any]:
    for option in ("url", "crawl"):
        if options[option]:
            raise CommandInputError(f"--by reports past traffic, --{option} asks for pages now: give one of them.")
    rows = history.rows(options["by"], options["since"])
    return {"by": options["by"], "since": options["since"], "rows": rows, "findings": []}


def _of_now(urls: list[str], plan: walk.Plan | None, user: str | None) -> dict[str, Any]:
    collector = Collector()
    faults = capture.faults.total
    walked = walk.Walk(Frontier(plan.skip)) if plan is not None else None
    with visits.visiting(user, collector) as (visitor, unreachable):
        if plan is not None and walked is not None:
            requests = list(progress(walk.walk(plan, visitor, walked), total=plan.pages, label="Crawling"))
        else:
            requests = [visitor.visit(url).record for url in urls]
    return {
        "requests": requests,
        **({"crawl": walked.as_dict()} if walked is not None else {}),
        "findings": [finding.as_dict() for finding in by_place.gathered(collector.findings())],
        "unused_allowances": collector.unused_allowances(),
        "unreachable": unreachable,
        "failures": capture.faults.total - faults,
    }


def _by_page(report: dict[str, Any]) -> str:
    rows = [
        (one["url"], one["status"], one["queries"], f"{one['database_ms']:.1f}", f"{one['ms']:.1f}")
        for one in report["requests"]
    ]
    return table(("page", "status", "queries", "database ms", "total ms"), rows, "<>>>>")


def _by_pattern(report: dict[str, Any]) -> str:
    """Return a line for each URL pattern, that of the most queries first, with its dearest page."""
    patterns: dict[str, list[dict[str, Any]]] = {}
    for one in report["requests"]:
        patterns.setdefault(one["route"], []).append(one)
    dearest = {route: max(pages, key=lambda one: one["queries"]) for route, pages in patterns.items()}
    rows = [
        (
            route,
            len(pages),
            " ".join(f"{status}" for status in sorted({one["status"] for one in pages})),
            dearest[route]["queries"],
            f"{sum(one['database_ms'] for one in pages) / len(pages):.1f}",
            f"{sum(one['ms'] for one in pages) / len(pages):.1f}",
            dearest[route]["url"],
        )
        for route, pages in sorted(patterns.items(), key=lambda each: -dearest[each[0]]["queries"])
    ]
    headers = ("pattern", "pages", "status", "most queries", "database ms", "total ms", "page of the most queries")
    return table(headers, rows, "<><>>><")


def _left_alone(report: dict[str, Any]) -> Iterator[str]:
    alone = report.get("crawl", {}).get("left_alone", {})
    if alone:
        yield "Left alone:"
    for reason, one in alone.items():
        shown = ", ".join(one["examples"]) + (", …" if one["count"] > len(one["examples"]) else "")
        yield paragraph(f"{one['count']:,} that {REASONS[reason]}: {shown}", "  ", "      ")
    if alone:
        yield ""


def _obstacles(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what stood in the way of the report, with the style in which to say it."""
    for one in report["requests"]:
        if one["error"]:
            yield "ERROR", f"{one['url']} failed: {one['error']}"
        if not one["replayable"]:
            yield "WARNING", f"{one['url']} broke the transaction around it, so it may fail here alone: not replayable."
    login = report.get("crawl", {}).get("sent_to_login", {"count": 0})
    if login["count"]:
        shown = ", ".join(login["examples"]) + (", …" if login["count"] > len(login["examples"]) else "")
        yield "WARNING", f"{login['count']} pages asked for a login (--as USER; or this user may not see them): {shown}"
    for alias in report["unreachable"]:
        yield "WARNING", f"Database {alias!r} cannot be reached; nothing is rolled back there."
    if report["failures"]:
        yield "ERROR", f"noa_perf failed {report['failures']} times while it looked, so this is not all: see its log."
