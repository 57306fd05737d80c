"""The shop's data: generated, the same for the same seed and scale, and skewed as real shops are."""

from __future__ import annotations

from array import array
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate, chain, product
from math import ceil
from random import Random

from django.apps import apps
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management.color import no_style
from django.db import connection
from django.db.models import Model
from django.utils.text import slugify

from . import catalogue as words
from .models import (
    Brand,
    Category,
    Customer,
    Loyalty,
    Order,
    OrderItem,
    Product,
    ProductImage,
    Review,
    Tag,
    Variant,
)

TODAY = datetime(2026, 1, 1, tzinfo=UTC)
"""The shop's present: data must not change with the calendar."""
YEARS = timedelta(days=730)
STAFF = ("staff", "staff")
"""Name and password of the one who may see reports and the admin."""
BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows of the tables that grow with the scale."""

    products: int
    customers: int
    orders: int
    reviews: int

    @classmethod
    def of(cls, scale: float) -> Sizes:
        """Return the sizes at a scale; scale 1 is 2,000 products, 20,000 orders and 60,000 reviews."""
        rows = (2_000, 4_000, 20_000, 60_000)
        return cls(*(max(24, ceil(count * scale)) for count in rows))


class Popularity:
    """Draws numbers below ``count`` by Zipf's law, the favourites scattered over the range."""

    def __init__(self, count: int, random: Random, flatness: float) -> None:
        self._items = array("l", range(count))
        random.shuffle(self._items)
        self._sums = array("d", accumulate(1 / (rank + flatness) for rank in range(count)))

    def draw(self, random: Random) -> int:
        """Return one item; the first favourite most often."""
        return self._items[bisect(self._sums, random.random() * self._sums[-1])]

    def shares(self) -> array[float]:
        """Return each item's part of all draws."""
        found = array("d", bytes(8 * len(self._items)))
        for rank, item in enumerate(self._items):
            found[item] = (self._sums[rank] - (self._sums[rank - 1] if rank else 0.0)) / self._sums[-1]
        return found


class Shop:
    """Makes the rows of every table, one at a time, in the order in which they can be saved."""

    def __init__(self, scale: float, seed: int = 1) -> None:
        self.sizes = Sizes.of(scale)
        self.seed = seed
        self.favourites = Popularity(self.sizes.products, self._random("favourites"), 4)
        self.regulars = Popularity(self.sizes.customers, self._random("regulars"), 200)
        random = self._random("prices")
        self._pence = array("l", (_price(random) for _ in range(self.sizes.products)))
        self._variants = self._counts("variant counts", (1, 2, 3, 3, 4), self.sizes.products)
        self._images = self._counts("image counts", (2, 3, 4), self.sizes.products)
        self._tags = self._counts("tag counts", (2, 3, 4, 5), self.sizes.products)
        self._items = self._counts("item counts", (1, 1, 2, 2, 3, 4, 6), self.sizes.orders)
        self._first_variant = array("l", accumulate(self._variants, initial=1))

    def __len__(self) -> int:
        """Return the number of rows in all tables."""
        sizes, leaves = self.sizes, len(_leaves())
        drawn = sum(self._variants) + sum(self._images) + sum(self._tags) + sum(self._items)
        fixed = 1 + len(words.DEPARTMENTS) + leaves + len(_brand_names()) + len(words.TAGS)
        return fixed + drawn + sizes.products + 2 * sizes.customers + sizes.orders + sizes.reviews

    def rows(self) -> Iterator[Model]:
        """Yield every row of the shop."""
        parts: tuple[Callable[[], Iterable[Model]], ...] = (
            self.staff, self.categories, self.brands, self.tags, self.products, self.product_tags,
            self.images, self.variants, self.customers, self.loyalties, self.reviews, self.orders, self.items,
        )  # fmt: skip
        return chain.from_iterable(part() for part in parts)

    def staff(self) -> Iterator[User]:
        """Yield the one user; the salt is fixed, for the same file every time."""
        name, password = STAFF
        encoded = make_password(password, salt="fjordandfieldandfjordandfield")
        yield User(pk=1, username=name, password=encoded, is_staff=True, is_superuser=True, date_joined=TODAY)

    def categories(self) -> Iterator[Category]:
        """Yield the departments, each followed by its categories."""
        pk = 0
        for position, (department, inside) in enumerate(words.DEPARTMENTS.items()):
            pk += 1
            parent = pk
            yield Category(pk=pk, name=department, slug=slugify(department), position=position)
            for place, name in enumerate(inside):
                pk += 1
                yield Category(pk=pk, name=name, slug=slugify(name), parent_id=parent, position=place)

    def brands(self) -> Iterator[Brand]:
        """Yield the makers."""
        random = self._random("brands")
        for pk, name in enumerate(_brand_names(), 1):
            story = _text(random, words.SELLING_POINTS, 6)
            country = random.choice(words.COUNTRIES)
            yield Brand(pk=pk, name=name, country=country, founded=random.randint(1850, 2019), story=story)

    def tags(self) -> Iterator[Tag]:
        """Yield the tags."""
        return (Tag(pk=pk, name=name) for pk, name in enumerate(words.TAGS, 1))

    def products(self) -> Iterator[Product]:
        """Yield the products; what sold follows from the favourites."""
        random, leaves, makers = self._random("products"), _leaves(), _brand_names()
        units = 2.2 * self.sizes.orders
        for index, share in enumerate(self.favourites.shares()):
            category, things = random.choice(leaves)
            maker = random.randrange(len(makers))
            name = f"{random.choice(words.QUALITIES)} {random.choice(words.MATERIALS)} {random.choice(things)}"
            yield Product(
                pk=index + 1,
                name=f"{name} by {makers[maker]}",
                slug=f"{slugify(name)}-{index + 1}",
                category_id=category,
                brand_id=maker + 1,
                price=Decimal(self._pence[index]) / 100,
                description=_text(random, words.SELLING_POINTS, random.randint(12, 30)),
                sold=int(units * share),
                is_active=random.random() < 0.96 or share > 0.001,
                added_at=_moment(random),
            )

    def product_tags(self) -> Iterator[Model]:
        """Yield the links between products and tags."""
        random, link = self._random("product tags"), Product.tags.through
        for product_id, count in enumerate(self._tags, 1):
            for tag_id in random.sample(range(1, len(words.TAGS) + 1), count):
                yield link(product_id=product_id, tag_id=tag_id)

    def images(self) -> Iterator[ProductImage]:
        """Yield two to four pictures of each product."""
        for product_id, count in enumerate(self._images, 1):
            for position in range(count):
                path = f"images/p{product_id}-{position}.svg"
                yield ProductImage(product_id=product_id, path=path, alt=f"View {position + 1}", position=position)

    def variants(self) -> Iterator[Variant]:
        """Yield each product's sizes and colours."""
        random = self._random("variants")
        for index, (count, pence) in enumerate(zip(self._variants, self._pence, strict=True)):
            colours = random.sample(words.COLOURS, count)
            for place, colour in enumerate(colours):
                yield Variant(
                    pk=self._first_variant[index] + place,
                    product_id=index + 1,
                    sku=sku(index, place),
                    name=f"{colour}, {random.choice(words.SIZES)}",
                    price=Decimal(pence + 150 * place) / 100,
                    stock=0 if random.random() < 0.03 else int(random.expovariate(1 / 40)),
                )

    def customers(self) -> Iterator[Customer]:
        """Yield the customers."""
        random = self._random("customers")
        for pk in range(1, self.sizes.customers + 1):
            first, last = random.choice(words.FIRST_NAMES), random.choice(words.LAST_NAMES)
            email = f"{first}.{last}.{pk}@example.com".lower()
            city = random.choice(words.CITIES)
            yield Customer(pk=pk, name=f"{first} {last}", email=email, city=city, joined_at=_moment(random))

    def loyalties(self) -> Iterator[Loyalty]:
        """Yield each customer's points."""
        random = self._random("loyalties")
        for pk in range(1, self.sizes.customers + 1):
            points = int(random.expovariate(1 / 300))
            tier = "Gold" if points > 900 else "Silver" if points > 300 else "Bronze"
            yield Loyalty(customer_id=pk, tier=tier, points=points)

    def reviews(self) -> Iterator[Review]:
        """Yield the reviews; favourites have the most."""
        random = self._random("reviews")
        for _ in range(self.sizes.reviews):
            rating = random.choices((1, 2, 3, 4, 5), (4, 5, 12, 34, 45))[0]
            yield Review(
                product_id=self.favourites.draw(random) + 1,
                customer_id=self.regulars.draw(random) + 1,
                rating=rating,
                title=random.choice(words.OPINIONS[rating]),
                body=_text(random, words.SENTENCES, random.randint(1, 8)),
                written_at=_moment(random),
            )

    def orders(self) -> Iterator[Order]:
        """Yield the orders by time, each with the total of its items."""
        random = self._random("orders")
        step = YEARS / self.sizes.orders
        late = self.sizes.orders - self.sizes.orders // 40
        for index in range(self.sizes.orders):
            total = sum(item.quantity * item.unit_price for item in self._items_of(index))
            yield Order(
                pk=index + 1,
                number=order_number(index),
                customer_id=self.regulars.draw(random) + 1,
                status=_status(random, recent=index >= late),
                placed_at=TODAY - YEARS + step * index,
                total=total,
            )

    def items(self) -> Iterator[OrderItem]:
        """Yield the items of all orders."""
        return chain.from_iterable(self._items_of(index) for index in range(self.sizes.orders))

    def _items_of(self, index: int) -> Iterator[OrderItem]:
        """Yield one order's items: asked for twice, and the same both times."""
        random = Random(self.seed * 1_000_000_007 + index)
        for _ in range(self._items[index]):
            favourite = self.favourites.draw(random)
            place = random.randrange(self._variants[favourite])
            yield OrderItem(
                order_id=index + 1,
                variant_id=self._first_variant[favourite] + place,
                quantity=random.choice((1, 1, 1, 1, 2, 3)),
                unit_price=Decimal(self._pence[favourite] + 150 * place) / 100,
            )

    def _counts(self, name: str, choices: tuple[int, ...], size: int) -> array[int]:
        random = self._random(name)
        return array("b", (random.choice(choices) for _ in range(size)))

    def _random(self, name: str) -> Random:
        return Random(f"{self.seed} {name}")


def save(rows: Iterable[Model]) -> None:
    """Save rows that come grouped by table, in batches of one table each."""
    batch: list[Model] = []
    for row in rows:
        if batch and (len(batch) == BATCH or type(row) is not type(batch[0])):
            _flush(batch)
        batch.append(row)
    _flush(batch)
    _count_on()


def order_number(index: int) -> str:
    """Return the number of the order at that place, counted from 0."""
    return f"FF-{index % 97:02d}-{index + 1:06d}"


def sku(index: int, place: int) -> str:
    """Return the article number of a product's variant, both counted from 0."""
    return f"{index * 7919 % 10_000_019:08d}-{place + 1}"


def _flush(batch: list[Model]) -> None:
    if batch:
        type(batch[0])._default_manager.bulk_create(batch)
        batch.clear()


def _count_on() -> None:
    """Let PostgreSQL's sequences go on behind the keys that were given here."""
    models: list[type[Model]] = [*apps.get_app_config("shop").get_models(include_auto_created=True), User]
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), models):
            cursor.execute(statement)


def _leaves() -> list[tuple[int, tuple[str, ...]]]:
    """Return the key of each category inside a department, and what is sold there."""
    found, pk = [], 0
    for inside in words.DEPARTMENTS.values():
        pk += 1
        for things in inside.values():
            pk += 1
            found.append((pk, things))
    return found


def _brand_names() -> list[str]:
    return [f"{stem} {end}" for stem, end in product(words.BRAND_STEMS, words.BRAND_ENDS)]


def _price(random: Random) -> int:
    """Return a price in pence: most are small, a few are not, and all end in 95."""
    return 100 * int(4 + random.lognormvariate(3.2, 0.8)) + 95


def _moment(random: Random) -> datetime:
    return TODAY - timedelta(seconds=int(YEARS.total_seconds() * random.random()))


def _status(random: Random, *, recent: bool) -> str:
    if recent:
        return random.choice(("pending", "paid"))
    return random.choices(("shipped", "returned", "pending"), (94, 5, 1))[0]


def _text(random: Random, sentences: tuple[str, ...], count: int) -> str:
    return " ".join(random.choice(sentences) for _ in range(count))
