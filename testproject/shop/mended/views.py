"""Pages of the shop."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from typing import Any

from django.contrib.admin.views.decorators import staff_member_required
from django.db.models import Avg, Count, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.generic import ListView

from testproject.shop.models import Brand, Category, Customer, Order, OrderItem, Product, Variant

REVIEWS_ON_A_PAGE = 10


def home(request: HttpRequest) -> HttpResponse:
    """Show what sells best and what is new."""
    on_sale = Product.objects.filter(is_active=True).select_related("brand").prefetch_related("images")
    popular = on_sale.order_by("-sold", "pk")[:12]
    arrivals = on_sale.order_by("-added_at", "pk")[:8]
    return render(request, "shop/home.html", {"popular": popular, "arrivals": arrivals})


def categories(request: HttpRequest) -> HttpResponse:
    """List all categories by department."""
    listed = (
        Category.objects.filter(parent__isnull=False)
        .order_by("parent", "position", "pk")
        .select_related("parent")
        .annotate(products_count=Count("products"))
    )
    return render(request, "shop/categories.html", {"categories": listed})


class CategoryPage(ListView):  # type: ignore[type-arg]
    """The products of a category and of those inside it."""

    queryset = (
        Product.objects.filter(is_active=True)
        .order_by("-sold", "pk")
        .select_related("brand")
        .prefetch_related("images")
    )
    template_name = "shop/category.html"
    context_object_name = "products"
    paginate_by = 24

    def get_queryset(self) -> QuerySet[Product]:
        """Return the products on sale, most sold first."""
        category = get_object_or_404(Category, slug=self.kwargs["slug"])
        self.extra_context = {"category": category}
        inside = Category.objects.filter(parent=category).values_list("pk", flat=True)
        return super().get_queryset().filter(category__in=[category.pk, *inside])


def brands(request: HttpRequest) -> HttpResponse:
    """List all brands."""
    listed = Brand.objects.only("name", "country").order_by("name")
    return render(request, "shop/brands.html", {"brands": listed})


def product(request: HttpRequest, slug: str) -> HttpResponse:
    """Show a product with its newest reviews and its neighbours."""
    shown = get_object_or_404(Product.objects.select_related("brand", "category__parent"), slug=slug)
    newest = shown.reviews.order_by("-written_at", "pk").select_related("customer")
    reviews = newest[:REVIEWS_ON_A_PAGE]
    neighbours = (
        Product.objects.filter(category=shown.category_id, is_active=True)
        .exclude(pk=shown.pk)
        .select_related("brand")
        .prefetch_related("images")
    )
    related = neighbours.order_by("-sold", "pk")[:6]
    in_demand = False
    if OrderItem.objects.filter(variant__product=shown).exists():
        in_demand = True
    total = shown.reviews.count()
    pages = -(-total // REVIEWS_ON_A_PAGE)
    rating = shown.reviews.aggregate(average=Avg("rating"))["average"]
    context = {"product": shown, "reviews": reviews, "related": related, "in_demand": in_demand}
    context |= {"reviews_total": total, "review_pages": pages, "rating": rating}
    return render(request, "shop/product.html", context)


def search(request: HttpRequest) -> HttpResponse:
    """Find products by a part of their name."""
    term = request.GET.get("q", "").strip()
    matches = (
        Product.objects.filter(name__icontains=term, is_active=True).select_related("brand").prefetch_related("images")
    )
    total = matches.count()
    products = matches.order_by("-sold", "pk")[:24]
    return render(request, "shop/search.html", {"term": term, "total": total, "products": products})


def account(request: HttpRequest) -> HttpResponse:
    """Show a customer's orders and reviews; a demo asks for no password."""
    customer = get_object_or_404(Customer, email=request.GET.get("email", ""))
    orders = customer.orders.order_by("-placed_at", "pk").annotate(items_count=Count("items"))[:20]
    reviews = customer.reviews.order_by("-written_at", "pk").select_related("product")[:10]
    context = {"customer": customer, "orders": orders, "reviews": reviews}
    return render(request, "shop/account.html", context)


def order(request: HttpRequest, number: str) -> HttpResponse:
    """Show an order to whoever knows its number and the customer's address."""
    found = get_object_or_404(Order.objects.select_related("customer"), number=number)
    if found.customer.email != request.GET.get("email"):
        raise Http404("No such order.")
    items = found.items.all().select_related("variant__product")
    return render(request, "shop/order.html", {"order": found, "items": items})


def price_list(request: HttpRequest) -> HttpResponse:
    """Export today's prices for the comparison sites."""
    response = HttpResponse(content_type="text/csv")
    lines = csv.writer(response)
    lines.writerow(["id", "name", "price", "page"])
    offered = Product.objects.filter(is_active=True).order_by("pk")
    lines.writerows(offered.values_list("pk", "name", "price", "slug"))
    return response


@staff_member_required
def sales_report(request: HttpRequest, year: int, month: int) -> HttpResponse:
    """Show a month's sales, its best customers, and what needs attention."""
    start = datetime(year, month, 1, tzinfo=UTC)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    waiting = (
        Order.objects.filter(status=Order.Status.PENDING).order_by("-placed_at", "pk").select_related("customer")[:40]
    )
    scarce = Variant.objects.filter(stock__lt=3).order_by("stock", "pk").select_related("product__category")[:40]
    placed = Order.objects.filter(placed_at__gte=start, placed_at__lt=end)
    by_status = placed.values("status").annotate(orders=Count("pk"), revenue=Sum("total")).order_by("status")
    best = placed.values("customer").annotate(spent=Sum("total")).order_by("-spent", "customer")[:20]
    ids = [row["customer"] for row in best]
    customers = Customer.objects.in_bulk(ids)
    buyers = [customers[pk] for pk in ids]
    context: dict[str, Any] = {"start": start, "by_status": by_status, "waiting": waiting, "scarce": scarce}
    context["best"] = [(buyer, row["spent"]) for buyer, row in zip(buyers, best, strict=True)]
    return render(request, "shop/sales_report.html", context)
