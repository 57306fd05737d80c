"""``manage.py perf_nplusone``: the N+1 of pages, each cure proved by asking again, and a diff that makes it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from noa_perf.core.commands import ReportCommand, paragraph, table
from noa_perf.core.exceptions import CommandInputError
from noa_perf.optimizer import report, visits
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.proof.patch import Patch, patch_for
from noa_perf.optimizer.proof.trial import REPEATS, Trial, trial
from noa_perf.optimizer.report import Advice


class Command(ReportCommand):
    """Names each N+1 of a page with its cure; replays the page with the cure applied; prints what to change."""

    help = "Name the N+1 of pages, prove each cure by replaying the page with it, and print it as a diff."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--url``, ``--verify``, ``--patch`` and ``--as``."""
        parser.add_argument("--url", action="append", metavar="/path", help="a page to look at; may be given again")
        parser.add_argument(
            "--verify",
            action="append",
            metavar="/path",
            help="the same, and prove each cure: the page is asked for again with its queryset changed, no file is",
        )
        parser.add_argument("--patch", action="store_true", help="print a unified diff for each cure that fits a line")
        visits.add_options(parser)
        super().add_arguments(parser)

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return the pages with their N+1, what became of the cures, and their diffs."""
        plain, proved = options["url"] or [], options["verify"] or []
        if not plain and not proved:
            raise CommandInputError("Nothing to look at. Name a page: --verify / (or --url /, which proves nothing).")
        visits.check([*plain, *proved], without_rollback=options["without_rollback"])
        pages = [self._seen(url, options) for url in plain]
        pages += [self._proved(trial(url, options["user"]), options) for url in proved]
        findings = [cure["finding"] for page in pages for cure in page["cures"]]
        return {"pages": pages, "findings": findings}

    def _seen(self, url: str, options: dict[str, Any]) -> dict[str, Any]:
        collector = Collector()
        (record,), _ = visits.visit_all([url], options["user"], collector)
        advice = report.advice_on(collector.seen()[0])
        cures = [{"finding": one.finding.as_dict(), **_patch_of(one, options["patch"])} for one in advice]
        return {"url": url, "status": record["status"], "error": record["error"], "cures": cures, "notes": []}

    def _proved(self, made: Trial, options: dict[str, Any]) -> dict[str, Any]:
        page = made.as_dict()
        for cure, verdict in zip(page["cures"], made.verdicts, strict=True):
            wanted = options["patch"] and verdict.recommended
            cure.update(_patch_of(verdict.advice, wanted))
        return page

    def obstacle(self, report: dict[str, Any]) -> str:
        """Tell which pages did not answer, so that nothing can be said of them."""
        failed = [one for one in report["pages"] if visits.failed(one) or one["status"] >= 400]
        return visits.told_of_failures(failed) if failed else ""

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write each page with its cures."""
        for page in report["pages"]:
            self._render_page(page)

    def _render_page(self, page: dict[str, Any]) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING(f"{page['url']} ({page['status']})"))
        if page.get("obstacle"):
            self.stdout.write(self.style.WARNING(f"Not proved: {page['obstacle']}"))
        for note in page["notes"]:
            self.stdout.write(self.style.WARNING(note))
        if not page["cures"] and not visits.failed(page):
            self.stdout.write(self.style.SUCCESS("Nothing is fetched one by one."))
        for number, cure in enumerate(page["cures"], 1):
            self._render_cure(number, cure)
        if page.get("before") and page["cures"]:
            self.stdout.write(_figures(page) + "\n")

    def _render_cure(self, number: int, cure: dict[str, Any]) -> None:
        finding = cure["finding"]
        self.stdout.write(f"\n{number}. {finding['summary']}")
        self.stdout.write(paragraph(f"cure: {finding['cure']}", "   ", "         "))
        if "reason" in cure:
            style = self.style.SUCCESS if cure["recommended"] else self.style.WARNING
            word = "recommended" if cure["recommended"] else "not recommended"
            self.stdout.write(style(paragraph(f"{word}: {cure['reason']}", "   ", "         ")))
        if cure["unpatched"]:
            self.stdout.write(paragraph(f"no diff: {cure['unpatched']}", "   ", "         "))
        if cure["patch"]:
            if not cure["patch_certain"]:
                self.stdout.write("   The line is a guess; read it before you apply it:")
            self.stdout.write(cure["patch"])


def _patch_of(advice: Advice, wanted: bool) -> dict[str, Any]:
    made = patch_for(advice) if wanted else Patch()
    return {"patch": made.diff, "patch_certain": made.certain, "unpatched": made.reason}


def _figures(page: dict[str, Any]) -> str:
    """Return queries and times, before and after, as a table."""
    rows = [_row("as it is", page["before"])]
    tried = [(number, cure["after"]) for number, cure in enumerate(page["cures"], 1) if cure["after"]]
    rows += [_row(f"with cure {number}", after) for number, after in tried]
    if page["together"]:
        rows.append(_row("with all recommended", page["together"]))
    head = ("", "queries", "database ms", "total ms")
    return f"\n{table(head, rows, '<>>>')}\nTimes are the median of {REPEATS} requests, after one that is not counted."


def _row(name: str, figures: dict[str, float]) -> tuple[str, str, str, str]:
    return name, f"{figures['queries']}", f"{figures['database_ms']:.1f}", f"{figures['ms']:.1f}"
