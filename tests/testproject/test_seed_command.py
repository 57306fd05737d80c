from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Sum

from testproject.shop.models import Order

pytestmark = pytest.mark.django_db


def test_the_command_fills_the_shop_and_shows_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("shop_seed", scale=0.02, stdout=io.StringIO())
    assert Order.objects.count() == 400
    assert Order.objects.aggregate(all=Sum("total"))["all"] > 0
    assert "Seeding the shop" in capsys.readouterr().err


def test_a_scale_of_nothing_is_refused() -> None:
    with pytest.raises(CommandError, match="above 0"):
        call_command("shop_seed", scale=0)
