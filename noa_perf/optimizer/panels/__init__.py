"""What the optimizer shows on the dashboard, from the rollup: figures of all processes, and what any of them noted."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from noa_perf.core.panels import Page, Panel, register
from noa_perf.metrics import rollup
from noa_perf.optimizer.panels import n_plus_one, routes, statements
from noa_perf.optimizer.panels.verdicts import verdicts


def install() -> None:
    """Register the optimizer's panel."""
    rollup.SUMS["route"] = ("database_us", "failed")
    register(
        Panel(
            name="optimizer",
            title=_("Queries"),
            verdicts=verdicts,
            pages=(
                Page(slug="queries", title=_("Queries"), blocks=statements.every, detail=statements.one, order=10),
                Page(slug="routes", title=_("Routes"), blocks=routes.every, detail=routes.one, order=20),
                Page(slug="n-plus-one", title=_("N+1"), blocks=n_plus_one.every, detail=n_plus_one.one, order=30),
                Page(slug="slow", title=_("Slow"), blocks=statements.slow, order=40),
            ),
            order=10,
        )
    )
