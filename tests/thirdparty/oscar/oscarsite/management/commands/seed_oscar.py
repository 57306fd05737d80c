"""A small, seeded shop: nested categories, products of three classes, reviews and orders."""

from __future__ import annotations

import random
from decimal import Decimal
from io import BytesIO
from typing import Any

from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import transaction
from oscar.apps.catalogue.categories import create_from_breadcrumbs
from oscar.core.loading import get_class, get_model
from PIL import Image

Product = get_model("catalogue", "Product")
ProductClass = get_model("catalogue", "ProductClass")
ProductCategory = get_model("catalogue", "ProductCategory")
ProductImage = get_model("catalogue", "ProductImage")
ProductRecommendation = get_model("catalogue", "ProductRecommendation")
ProductReview = get_model("reviews", "ProductReview")
Partner = get_model("partner", "Partner")
StockRecord = get_model("partner", "StockRecord")
Basket = get_model("basket", "Basket")
Country = get_model("address", "Country")
OrderCreator = get_class("order.utils", "OrderCreator")
OrderTotalCalculator = get_class("checkout.calculators", "OrderTotalCalculator")
Free = get_class("shipping.methods", "Free")
Strategy = get_class("partner.strategy", "Default")

CATEGORIES = [
    "Books > Fiction",
    "Books > Fiction > Crime",
    "Books > History",
    "Home > Kitchen",
    "Home > Kitchen > Knives",
    "Garden",
]
CLASSES = {
    "Book": [("pages", "integer"), ("author", "text"), ("hardback", "boolean")],
    "Tool": [("weight", "float"), ("material", "text")],
    "Garment": [("size", "text"), ("colour", "text")],
}
WORDS = ["quiet", "northern", "copper", "folding", "paper", "winter", "plain", "little", "heavy", "blue"]
THINGS = ["lamp", "atlas", "knife", "jacket", "kettle", "garden", "novel", "spade", "chair", "letter"]


class Command(BaseCommand):
    """Fill an empty database; the same seed gives the same shop."""

    help = __doc__ or ""

    def add_arguments(self, parser: Any) -> None:
        """Add the size and the seed."""
        parser.add_argument("--products", type=int, default=120)
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, **options: Any) -> None:
        """Make the shop and its search index."""
        with transaction.atomic():
            self.make_shop(options)
        call_command("rebuild_index", interactive=False, verbosity=0)

    def make_shop(self, options: dict[str, Any]) -> None:
        """Make everything that lies in the database."""
        dice = random.Random(options["seed"])
        categories = [create_from_breadcrumbs(each) for each in CATEGORIES]
        users = make_users()
        products = [make_product(dice, number, categories) for number in range(options["products"])]
        make_images(dice, products)
        make_stock(dice, products, users[0])
        make_reviews(dice, products, users)
        make_recommendations(dice, products)
        for number in range(12):
            make_order(dice, products, users[1 + number % (len(users) - 1)])
        self.stdout.write(f"{Product.objects.count()} products, {len(users)} users")


def make_users() -> list[Any]:
    """Return a staff user and five customers."""
    users = get_user_model().objects
    staff = users.create_superuser("staff", "staff@example.com", "staff")
    return [staff, *(users.create_user(f"customer{n}", f"customer{n}@example.com", "x") for n in range(5))]


def make_product(dice: random.Random, number: int, categories: list[Any]) -> Any:
    """Return one product with its class, attributes and categories; every tenth garment has variants."""
    name = list(CLASSES)[number % len(CLASSES)]
    title = f"{dice.choice(WORDS)} {dice.choice(THINGS)} {number}".capitalize()
    parent = name == "Garment" and number % 10 == 2
    product = Product(
        title=title,
        upc=f"{number:08d}",
        product_class=product_class(name),
        structure=Product.PARENT if parent else Product.STANDALONE,
        description=f"<p>{title}, in good order.</p>",
    )
    if not parent:
        set_attributes(dice, product, name)
    product.save()
    for category in dice.sample(categories, dice.choice([1, 1, 2])):
        ProductCategory.objects.create(product=product, category=category)
    for size in ("S", "M", "L") if parent else ():
        make_variant(product, size)
    return product


def product_class(name: str) -> Any:
    """Return the class of this name with its attributes."""
    found, made = ProductClass.objects.get_or_create(name=name, defaults={"track_stock": True})
    if made:
        for code, kind in CLASSES[name]:
            found.attributes.create(name=code.capitalize(), code=code, type=kind)
    return found


def set_attributes(dice: random.Random, product: Any, name: str) -> None:
    """Give a product one value for each attribute of its class."""
    values: dict[str, Any] = {"integer": dice.randrange(80, 900), "boolean": dice.random() < 0.5}
    values |= {"float": round(dice.uniform(0.1, 9.0), 2), "text": dice.choice(WORDS)}
    for code, kind in CLASSES[name]:
        setattr(product.attr, code, values[kind])


def make_variant(parent: Any, size: str) -> None:
    """Add one size of a garment."""
    child = Product(parent=parent, structure=Product.CHILD, title=f"{parent.title} {size}")
    child.upc = f"{parent.upc}{size}"
    child.save()


def make_images(dice: random.Random, products: list[Any]) -> None:
    """Give three products in four a small picture of one colour."""
    for product in products:
        if product.pk % 4:
            picture = BytesIO()
            Image.new("RGB", (40, 30), tuple(dice.randrange(256) for _ in "rgb")).save(picture, "PNG")
            file = ContentFile(picture.getvalue(), name=f"{product.upc}.png")
            ProductImage.objects.create(product=product, original=file, caption=product.title)


def make_stock(dice: random.Random, products: list[Any], staff: Any) -> None:
    """Give every sellable product a price at one or two of three partners."""
    partners = [Partner.objects.create(name=name) for name in ("Alder", "Birch", "Cedar")]
    partners[0].users.add(staff)
    sellable = [each for product in products for each in (product.children.all() or [product])]
    for product in sellable:
        for partner in dice.sample(partners, dice.choice([1, 1, 2])):
            StockRecord.objects.create(
                product=product,
                partner=partner,
                partner_sku=product.upc,
                price=Decimal(dice.randrange(300, 9000)) / 100,
                num_in_stock=dice.randrange(1, 60),
            )


def make_reviews(dice: random.Random, products: list[Any], users: list[Any]) -> None:
    """Add up to four reviews to two products in three."""
    for product in products:
        for user in dice.sample(users[1:], dice.choice([0, 2, 4])):
            ProductReview.objects.create(
                product=product,
                user=user,
                score=dice.randrange(1, 6),
                title=f"A {dice.choice(WORDS)} one",
                body="It does what it says.",
                status=ProductReview.APPROVED,
            )


def make_recommendations(dice: random.Random, products: list[Any]) -> None:
    """Recommend three products beside every fourth."""
    for product in products[::4]:
        for other in dice.sample([each for each in products if each != product], 3):
            ProductRecommendation.objects.create(primary=product, recommendation=other)


def make_order(dice: random.Random, products: list[Any], user: Any) -> None:
    """Place one order of one to four lines."""
    basket = Basket.objects.create(owner=user)
    basket.strategy = Strategy()
    sellable = [product for product in products if not product.is_parent]
    for product in dice.sample(sellable, dice.randrange(1, 5)):
        basket.add_product(product, quantity=1)
    method = Free()
    charge = method.calculate(basket)
    OrderCreator().place_order(
        user=user,
        basket=basket,
        shipping_method=method,
        shipping_charge=charge,
        total=OrderTotalCalculator().calculate(basket, charge),
    )
    basket.submit()
