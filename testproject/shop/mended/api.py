"""The shop's JSON API."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import Count, F
from django.shortcuts import get_object_or_404
from rest_framework import mixins, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from testproject.shop.models import Cart, Category, Order, Product, Review, Variant

from .serializers import (
    CartItemSerializer,
    CategorySerializer,
    OrderSerializer,
    ProductSerializer,
    ReviewSerializer,
)


class ProductViewSet(viewsets.ReadOnlyModelViewSet[Product]):
    """Products on sale, most sold first."""

    queryset = (
        Product.objects.filter(is_active=True)
        .order_by("-sold", "pk")
        .select_related("brand", "category")
        .prefetch_related("images", "variants", "tags")
    )
    serializer_class = ProductSerializer
    lookup_field = "slug"


class CategoryViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Category]):
    """All categories in one answer."""

    queryset = Category.objects.order_by("slug").select_related("parent").annotate(products_count=Count("products"))
    serializer_class = CategorySerializer
    pagination_class = None


class ReviewViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Review]):
    """Reviews, newest first."""

    queryset = Review.objects.order_by("-written_at", "pk").select_related("customer")
    serializer_class = ReviewSerializer


class OrderViewSet(mixins.RetrieveModelMixin, viewsets.GenericViewSet[Order]):
    """An order, for whoever knows its number."""

    queryset = Order.objects.order_by("pk").prefetch_related("items__variant__product")
    serializer_class = OrderSerializer
    lookup_field = "number"


class CartView(APIView):
    """A visitor's cart."""

    def get(self, request: Request, token: UUID) -> Response:
        """Return the cart's lines."""
        cart = get_object_or_404(Cart, token=token)
        return self.lines(cart)

    def post(self, request: Request, token: UUID) -> Response:
        """Add a variant to the cart, which is made when it is new."""
        sent = request.data if isinstance(request.data, dict) else {}
        variant = get_object_or_404(Variant, sku=sent.get("sku", ""))
        with transaction.atomic():
            cart, _ = Cart.objects.get_or_create(token=token)
            item, _ = cart.items.get_or_create(variant=variant)
            cart.items.filter(pk=item.pk).update(quantity=F("quantity") + 1)
        return self.lines(cart)

    def lines(self, cart: Cart) -> Response:
        """Return what is in the cart."""
        items = cart.items.order_by("pk").select_related("variant__product")
        return Response({"items": CartItemSerializer(items, many=True).data})
