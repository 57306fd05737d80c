"""The indexes that the shop lacks, created between the demo's two phases."""

from __future__ import annotations

import django
from django.db import connection
from django.db.models import Index, Model

from .models import Customer, Order, Product, Review, Variant

# Django 6.1 writes `is_active = 1`; 5.2 writes a bare `is_active`, which no index of SQLite's serves.
ON_SALE = ["is_active"] if django.VERSION >= (6, 1) else []

INDEXES: list[tuple[type[Model], Index]] = [
    (Product, Index(fields=["slug"], name="product_slug")),
    (Product, Index(fields=["-sold", "id"], name="product_sold")),
    (Product, Index(fields=[*ON_SALE, "-added_at", "id"], name="product_added")),
    (Product, Index(fields=["category", *ON_SALE, "-sold", "id"], name="product_category_sold")),
    (Review, Index(fields=["product", "-written_at", "id"], name="review_product_written")),
    (Review, Index(fields=["-written_at", "id"], name="review_written")),
    (Variant, Index(fields=["sku"], name="variant_sku")),
    (Variant, Index(fields=["stock", "id"], name="variant_stock")),
    (Customer, Index(fields=["email"], name="customer_email")),
    (Order, Index(fields=["number"], name="order_number")),
    (Order, Index(fields=["status", "-placed_at", "id"], name="order_status_placed")),
    (Order, Index(fields=["-placed_at", "id"], name="order_placed")),
]


def create_indexes() -> None:
    """Create every index, and gather the statistics that the planner goes by."""
    with connection.schema_editor() as editor:
        for model, index in INDEXES:
            editor.add_index(model, index)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
