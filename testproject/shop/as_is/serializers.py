"""What the API says about each thing."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from testproject.shop.models import (
    CartItem,
    Category,
    Order,
    OrderItem,
    Product,
    ProductImage,
    Review,
    Variant,
)


class ImageSerializer(serializers.ModelSerializer[ProductImage]):
    """A picture."""

    class Meta:
        model = ProductImage
        fields = ["path", "alt"]


class VariantSerializer(serializers.ModelSerializer[Variant]):
    """A size or colour."""

    class Meta:
        model = Variant
        fields = ["sku", "name", "price", "stock"]


class ProductSerializer(serializers.ModelSerializer[Product]):
    """A product with all that a shop window needs."""

    brand = serializers.CharField(source="brand.name")
    category = serializers.CharField(source="category.name")
    images = ImageSerializer(many=True)
    variants = VariantSerializer(many=True)
    tags = serializers.SlugRelatedField[Product](slug_field="name", many=True, read_only=True)

    class Meta:
        model = Product
        fields = ["name", "slug", "brand", "category", "price", "description", "images", "variants", "tags"]


class CategorySerializer(serializers.ModelSerializer[Category]):
    """A category, its department, and how much it offers."""

    department = serializers.CharField(source="parent.name", default=None)
    products = serializers.SerializerMethodField()

    class Meta:
        model = Category
        fields = ["name", "slug", "department", "products"]

    def get_products(self, category: Any) -> Any:
        """Return the number of products in the category."""
        return category.products.count()


class ReviewSerializer(serializers.ModelSerializer[Review]):
    """A review and who wrote it."""

    customer = serializers.CharField(source="customer.name", default=None)

    class Meta:
        model = Review
        fields = ["customer", "rating", "title", "body", "written_at"]


class OrderItemSerializer(serializers.ModelSerializer[OrderItem]):
    """A line of an order."""

    product = serializers.CharField(source="variant.product.name")
    sku = serializers.CharField(source="variant.sku")

    class Meta:
        model = OrderItem
        fields = ["product", "sku", "quantity", "unit_price"]


class OrderSerializer(serializers.ModelSerializer[Order]):
    """An order with its lines."""

    items = OrderItemSerializer(many=True)

    class Meta:
        model = Order
        fields = ["number", "status", "placed_at", "total", "items"]


class CartItemSerializer(serializers.ModelSerializer[CartItem]):
    """A line of a cart."""

    product = serializers.CharField(source="variant.product.name")
    sku = serializers.CharField(source="variant.sku")
    price = serializers.CharField(source="variant.price")

    class Meta:
        model = CartItem
        fields = ["product", "sku", "price", "quantity"]
