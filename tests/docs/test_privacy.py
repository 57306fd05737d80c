"""What docs/explanation/privacy.md promises."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from noa_perf import optimizer
from noa_perf.optimizer import capture
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.scopes import Scope


def report_of(scope: Scope) -> str:
    """Return all that is reported of one scope, as JSON."""
    collector = Collector()
    collector.add(scope)
    return json.dumps([finding.as_dict() for finding in collector.findings()], default=str)


@pytest.mark.django_db
@pytest.mark.parametrize("raw", [False, True], ids=["parameters", "literals in raw SQL"])
def test_no_report_shows_a_value(raw: bool) -> None:
    with capture.quiet(), optimizer.scope("privacy") as seen:
        for number in range(5):
            if raw:
                with connection.cursor() as cursor:
                    cursor.execute(f"SELECT id FROM auth_user WHERE username = 'secret-{number}'")
            else:
                get_user_model().objects.filter(username=f"secret-{number}").first()
    report = report_of(seen)
    assert "n_plus_one" in report
    assert "secret" not in report
