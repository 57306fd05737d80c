"""The recorded mix, made concrete: the requests that each client sends, the same in every phase."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from testproject.shop.models import Category, Order, Product, Variant
from testproject.shop.seed import STAFF

T = TypeVar("T")
MIX = Path(__file__).with_name("mix.json")
FAVOURITES = 400
"""How many of the most wanted things visitors look at."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What the clients send: first to warm up, then to be measured."""

    warm_up: list[list[dict[str, Any]]]
    measured: list[list[dict[str, Any]]]

    @property
    def size(self) -> int:
        """The number of measured requests."""
        return sum(map(len, self.measured))

    def as_dict(self) -> dict[str, Any]:
        """Return the orders for the driver, the way in to the back office included."""
        return {"staff": STAFF, "warm_up": self.warm_up, "measured": self.measured}


class Catalogue:
    """What the shop has, most wanted first, to fill the gaps in the mix's paths."""

    def __init__(self) -> None:
        products = Product.objects.filter(is_active=True).order_by("-sold", "pk")[:FAVOURITES]
        orders = Order.objects.select_related("customer").order_by("-placed_at", "pk")[:FAVOURITES]
        self._product = [product.slug for product in products]
        self._order = [(order.number, order.customer.email) for order in orders]
        self._category = list(Category.objects.order_by("parent", "pk").values_list("slug", flat=True))
        wanted = Variant.objects.filter(product__in=list(products)).order_by("-product__sold", "pk")
        self._sku = list(wanted.values_list("sku", flat=True)[:FAVOURITES])

    def gaps(self, random: Random, cart: UUID) -> dict[str, Callable[[], str]]:
        """Return what fills each gap; popular things come up most, by Zipf's law."""
        order, buyer = _zipf(random, self._order)
        return {
            "product": lambda: _zipf(random, self._product),
            "category": lambda: _zipf(random, self._category),
            "sku": lambda: _zipf(random, self._sku),
            "term": lambda: random.choice(("oak", "lamp", "wool", "kettle", "travel", "steel", "jacket")),
            "month": lambda: str(random.choice((10, 11, 12))),
            "customer": lambda: buyer,
            "buyer": lambda: buyer,
            "order": lambda: order,
            "cart": lambda: str(cart),
        }


def record(requests: int | None = None, clients: int | None = None) -> Workload:
    """Return the mix as requests, drawn by weight; the same for the same data and numbers."""
    mix = json.loads(MIX.read_text())
    random, catalogue = Random(mix["seed"]), Catalogue()
    clients = clients or mix["clients"]
    carts = [UUID(int=random.getrandbits(128), version=4) for _ in range(clients)]
    routes, weights = mix["routes"], list(accumulate(route["weight"] for route in mix["routes"]))
    warm_up: list[list[dict[str, Any]]] = [[] for _ in carts]
    measured: list[list[dict[str, Any]]] = [[] for _ in carts]
    for place, route in enumerate(routes * 2):
        client = place % clients
        warm_up[client].append(_concrete(route, catalogue.gaps(random, carts[client])))
    for place in range(requests or mix["requests"]):
        client = place % clients
        route = random.choices(routes, cum_weights=weights)[0]
        measured[client].append(_concrete(route, catalogue.gaps(random, carts[client])))
    # A cart is made by its first addition, so that it can be looked at from then on.
    for client, cart in enumerate(carts):
        adding = next(route for route in routes if "json" in route)
        warm_up[client].insert(0, _concrete(adding, catalogue.gaps(random, cart)))
    return Workload(warm_up, measured)


def _concrete(route: dict[str, Any], gaps: dict[str, Callable[[], str]]) -> dict[str, Any]:
    """Return the route as a request, its gaps filled."""
    request = {
        "name": route["name"],
        "path": _filled(route["path"], gaps),
        "staff": route.get("staff", False),
    }
    if "json" in route:
        request["json"] = {key: _filled(value, gaps) for key, value in route["json"].items()}
    return request


def _filled(text: str, gaps: dict[str, Callable[[], str]]) -> str:
    for name, fill in gaps.items():
        if f"{{{name}}}" in text:
            text = text.replace(f"{{{name}}}", fill())
    return text


def _zipf(random: Random, items: list[T]) -> T:
    return random.choices(items, [1 / rank for rank in range(3, len(items) + 3)])[0]
