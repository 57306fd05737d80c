"""Print the URLs that the tests visit as JSON, for visitors and for staff."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import Count
from django.urls import reverse
from oscar.core.loading import get_model

Product = get_model("catalogue", "Product")
Category = get_model("catalogue", "Category")
Order = get_model("order", "Order")


class Command(BaseCommand):
    """Choose pages of every kind; the same shop gives the same list."""

    help = __doc__ or ""

    def handle(self, **options: Any) -> None:
        """Print both lists."""
        self.stdout.write(json.dumps({"visitor": visitor(), "staff": staff()}))


def visitor() -> list[str]:
    """Return the shop's public pages."""
    products = Product.objects.browsable()
    chosen = [
        products.filter(structure=Product.STANDALONE, recommended_products__isnull=False).order_by("pk").first(),
        products.filter(structure=Product.PARENT).order_by("pk").first(),
        products.alias(count=Count("reviews")).filter(count__gte=4).order_by("pk").first(),
    ]
    categories = Category.objects.order_by("path")
    return [
        "/catalogue/",
        "/catalogue/?page=2",
        *[each.get_absolute_url() for each in (categories[0], categories.last())],
        *[each.get_absolute_url() for each in chosen],
        reverse("catalogue:reviews-list", kwargs={"product_slug": chosen[2].slug, "product_pk": chosen[2].pk}),
        "/search/?q=lamp",
        "/offers/",
        "/basket/",
    ]


def staff() -> list[str]:
    """Return the dashboard's pages."""
    order = Order.objects.order_by("number").first()
    names = (
        "index",
        "catalogue-product-list",
        "catalogue-category-list",
        "catalogue-class-list",
        "order-list",
    )
    more = ("users-index", "reviews-list", "partner-list", "reports-index", "stock-alert-list", "offer-list")
    return [
        *[reverse(f"dashboard:{name}") for name in (*names, *more)],
        reverse("dashboard:order-detail", kwargs={"number": order.number}),
        reverse("dashboard:catalogue-product", kwargs={"pk": Product.objects.order_by("pk").first().pk}),
        "/accounts/orders/",
    ]
