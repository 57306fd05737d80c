from __future__ import annotations

from itertools import islice

import pytest
from django.core.management import CommandError, call_command
from django.db import models

from testproject.shop.models import Customer, Order, Product, Review
from testproject.shop.seed import Shop, Sizes

pytestmark = pytest.mark.django_db

SCALE = 0.1


def _content(row: models.Model) -> tuple[object, ...]:
    return (type(row), *(getattr(row, field.attname) for field in row._meta.concrete_fields))


def test_the_same_seed_and_scale_give_the_same_rows() -> None:
    first, second = Shop(0.02, seed=3), Shop(0.02, seed=3)
    assert [*map(_content, first.rows())] == [*map(_content, second.rows())]


def test_another_seed_gives_other_rows() -> None:
    first, second = Shop(0.02, seed=3), Shop(0.02, seed=4)
    assert [*map(_content, first.rows())] != [*map(_content, second.rows())]


@pytest.mark.parametrize("scale", [0.001, 0.02, 0.1])
def test_a_shop_knows_how_many_rows_it_has(scale: float) -> None:
    shop = Shop(scale)
    assert len(shop) == sum(1 for _ in shop.rows())


def test_scale_1_has_the_promised_sizes() -> None:
    assert Sizes.of(1) == Sizes(products=2_000, customers=4_000, orders=20_000, reviews=60_000)


def test_rows_are_made_as_they_are_asked_for() -> None:
    assert len(list(islice(Shop(5).rows(), 100))) == 100


def test_the_tables_are_filled(shop: Shop) -> None:
    counts = [model.objects.count() for model in (Product, Customer, Order, Review)]
    assert counts == [2_000 * SCALE, 4_000 * SCALE, 20_000 * SCALE, 60_000 * SCALE]


def test_popularity_is_skewed_as_zipf_has_it(shop: Shop) -> None:
    sold = list(Product.objects.order_by("-sold").values_list("sold", flat=True))
    best, tenth = sum(sold[: len(sold) // 10]), sum(sold)
    assert best / tenth > 0.4


def test_an_order_costs_what_its_items_cost(shop: Shop) -> None:
    for order in Order.objects.all()[:50]:
        assert order.total == sum(item.quantity * item.unit_price for item in order.items.all())


def test_a_filled_shop_is_not_filled_twice(shop: Shop) -> None:
    with pytest.raises(CommandError, match="flush"):
        call_command("shop_seed", scale=0.02)
