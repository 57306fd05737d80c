"""``manage.py noa_perf_doctor``: asks every app of noa_perf how it is, and says the cure for what is wrong."""

from __future__ import annotations

from typing import Any

from django.core import checks

from noa_perf.core import health
from noa_perf.core.commands import ReportCommand, paragraph
from noa_perf.core.findings import Finding
from noa_perf.core.health import Answer


class Command(ReportCommand):
    """Runs the checks of readiness, thoroughly, and the system checks of noa_perf."""

    help = "Check that noa_perf works on this site: settings, tables, capture, export; each fault with its cure."
    requires_system_checks: list[str] = []  # they are part of the report
    fail_level = "low"

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return ``{"checks": [...], "findings": [...]}``."""
        answers = health.answers(deep=True)
        found = [_of_answer(answer) for answer in answers if not answer.ok]
        found += [_of_message(message) for message in _own_messages()]
        return {
            "checks": [answer.as_dict() for answer in answers],
            "findings": [finding.as_dict() for finding in found],
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write a line for each check, then each fault with its cure."""
        for one in report["checks"]:
            word = self.style.SUCCESS("ok  ") if one["ok"] else self.style.ERROR("FAIL")
            self.stdout.write(f"{word}  {one['name']}: {one['message']}")
        if not report["findings"]:
            self.stdout.write(self.style.SUCCESS("Nothing to mend."))
        for number, finding in enumerate(report["findings"], 1):
            self.stdout.write(f"\n{number}. [{finding['severity']}] {finding['subject']}")
            self.stdout.write(paragraph(finding["summary"], "   "))
            self.stdout.write(paragraph(f"cure: {finding['cure']}", "   ", "         "))


def _own_messages() -> list[checks.CheckMessage]:
    return [
        message
        for message in checks.run_checks()
        if str(message.id).startswith("noa_perf") and not message.is_silenced()
    ]


def _of_answer(answer: Answer) -> Finding:
    severity = "high" if answer.vital else "medium"
    return Finding(kind="health", subject=answer.name, summary=answer.message, cure=answer.cure, severity=severity)


def _of_message(message: checks.CheckMessage) -> Finding:
    severity = "high" if message.is_serious() else "medium"
    return Finding(
        kind="check", subject=str(message.id), summary=message.msg, cure=message.hint or "", severity=severity
    )
