"""``manage.py cdn_plan``: what ``cdn_deploy`` would change."""

from __future__ import annotations

from typing import Any

from noa_perf.cdn import building, service
from noa_perf.cdn.commands import bar, findings_of, plan_rows, render_plan
from noa_perf.cdn.conf import settings
from noa_perf.core.commands import ReportCommand
from noa_perf.core.findings import Finding


class Command(ReportCommand):
    """Builds, compares, and changes nothing where releases are."""

    help = "Say what cdn_deploy would upload, change, remove and purge, and whether its brake would hold it."
    fail_level = "high"

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return the plan; too many removed files are a finding."""
        built = building.build(bar)
        plan = service.plan(built.manifest)
        brake = settings().brake
        return {
            **plan_rows(plan),
            "brake": brake,
            "purge": list(settings().purge),
            "findings": [
                *findings_of(built),
                *([_braked(plan.share_removed, brake)] if plan.share_removed > brake else []),
            ],
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write counts, the largest uploads, and what would be gone."""
        render_plan(self.stdout, report)


def _braked(share: float, brake: float) -> dict[str, Any]:
    return Finding(
        kind="brake",
        severity="high",
        subject="cdn_deploy",
        summary=f"{share:.0%} of the files that are live would be gone, and BRAKE is {brake:.0%}.",
        cure="See that all apps and finders are there; cdn_deploy --force goes on.",
    ).as_dict()
