"""The shop's back office."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from testproject.shop.models import Customer, Order, Product

if TYPE_CHECKING:
    ProductAdminBase = admin.ModelAdmin[Product]
    CustomerAdminBase = admin.ModelAdmin[Customer]
    OrderAdminBase = admin.ModelAdmin[Order]
else:
    ProductAdminBase = CustomerAdminBase = OrderAdminBase = admin.ModelAdmin


@admin.register(Product)
class ProductAdmin(ProductAdminBase):
    """Products by number sold."""

    list_display = ("name", "brand_name", "department", "price", "sold")
    ordering = ("-sold", "pk")
    list_select_related = ("brand", "category")
    show_full_result_count = False

    @admin.display(description="Brand")
    def brand_name(self, product: Product) -> str:
        """Return who makes it."""
        return product.brand.name

    @admin.display(description="Category")
    def department(self, product: Product) -> str:
        """Return where it is sold."""
        return product.category.name


@admin.register(Customer)
class CustomerAdmin(CustomerAdminBase):
    """Customers by address."""

    list_display = ("email", "name", "city", "tier")
    ordering = ("email", "pk")
    list_select_related = ("loyalty",)
    show_full_result_count = False

    @admin.display(description="Tier")
    def tier(self, customer: Customer) -> str:
        """Return the customer's standing."""
        return customer.loyalty.tier


@admin.register(Order)
class OrderAdmin(OrderAdminBase):
    """Orders, newest first."""

    list_display = ("number", "buyer", "status", "placed_at", "total")
    list_filter = ("status",)
    ordering = ("-placed_at", "pk")
    list_select_related = ("customer",)
    raw_id_fields = ("customer",)
    show_full_result_count = False

    @admin.display(description="Customer")
    def buyer(self, order: Order) -> str:
        """Return who placed it."""
        return order.customer.email
