"""Tables of the shop, as both twins use them; the indexes they lack are listed in indexes.py."""

from __future__ import annotations

from django.db import models
from django.urls import reverse


class Category(models.Model):
    """A department, or a category inside one."""

    name = models.CharField(max_length=80)
    slug = models.SlugField(max_length=80, unique=True)
    parent = models.ForeignKey("self", models.CASCADE, related_name="children", null=True, blank=True)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["position", "pk"]
        verbose_name_plural = "categories"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the page that lists the category's products."""
        return reverse("shop:category", args=[self.slug])


class Brand(models.Model):
    """Who makes a product."""

    name = models.CharField(max_length=80, unique=True)
    country = models.CharField(max_length=60)
    founded = models.PositiveSmallIntegerField()
    story = models.TextField(blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Tag(models.Model):
    """A word that products share."""

    name = models.CharField(max_length=40, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    """Something for sale, in one or more variants."""

    name = models.CharField(max_length=160)
    slug = models.CharField(max_length=180)
    category = models.ForeignKey(Category, models.PROTECT, related_name="products")
    brand = models.ForeignKey(Brand, models.PROTECT, related_name="products")
    tags = models.ManyToManyField(Tag, related_name="products", blank=True)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    description = models.TextField(blank=True)
    sold = models.PositiveIntegerField(default=0)
    is_active = models.BooleanField(default=True)
    added_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the product's page."""
        return reverse("shop:product", args=[self.slug])


class ProductImage(models.Model):
    """A picture of a product."""

    product = models.ForeignKey(Product, models.CASCADE, related_name="images")
    path = models.CharField(max_length=120)
    alt = models.CharField(max_length=200)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return self.path


class Variant(models.Model):
    """A size or colour of a product, with its own stock."""

    product = models.ForeignKey(Product, models.CASCADE, related_name="variants")
    sku = models.CharField(max_length=24)
    name = models.CharField(max_length=60)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    stock = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.sku} ({self.name})"


class Customer(models.Model):
    """Someone who buys."""

    name = models.CharField(max_length=120)
    email = models.EmailField()
    city = models.CharField(max_length=80)
    joined_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Loyalty(models.Model):
    """A customer's points."""

    customer = models.OneToOneField(Customer, models.CASCADE, related_name="loyalty")
    tier = models.CharField(max_length=12)
    points = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "loyalties"

    def __str__(self) -> str:
        return f"{self.tier}, {self.points} points"


class Review(models.Model):
    """What a customer thinks of a product."""

    product = models.ForeignKey(Product, models.CASCADE, related_name="reviews")
    customer = models.ForeignKey(Customer, models.SET_NULL, related_name="reviews", null=True)
    rating = models.PositiveSmallIntegerField()
    title = models.CharField(max_length=120)
    body = models.TextField()
    written_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.title


class Order(models.Model):
    """What a customer bought at one time."""

    class Status(models.TextChoices):
        """How far an order has come."""

        PENDING = "pending", "Pending"
        PAID = "paid", "Paid"
        SHIPPED = "shipped", "Shipped"
        RETURNED = "returned", "Returned"

    number = models.CharField(max_length=20)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="orders")
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.PENDING)
    placed_at = models.DateTimeField()
    total = models.DecimalField(max_digits=10, decimal_places=2)

    def __str__(self) -> str:
        return self.number


class OrderItem(models.Model):
    """One line of an order, at the price of that day."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="items")
    variant = models.ForeignKey(Variant, models.PROTECT, related_name="order_items")
    quantity = models.PositiveSmallIntegerField()
    unit_price = models.DecimalField(max_digits=8, decimal_places=2)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.unit_price}"


class Cart(models.Model):
    """What a visitor means to buy."""

    token = models.UUIDField(unique=True)
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="carts", null=True)

    def __str__(self) -> str:
        return str(self.token)


class CartItem(models.Model):
    """One line of a cart."""

    cart = models.ForeignKey(Cart, models.CASCADE, related_name="items")
    variant = models.ForeignKey(Variant, models.CASCADE, related_name="cart_items")
    quantity = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["cart", "variant"], name="one_line_per_variant")]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.variant_id}"
