"""Routes of the shop; both twins answer the same ones."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http.response import HttpResponseBase
from django.urls import include, path
from django.views.decorators.cache import cache_page
from rest_framework.routers import SimpleRouter

from .images import image
from .twin import twin

HOT_SECONDS = 60


def hot(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return a view that most visitors ask for, kept for a minute where the settings say so."""
    return cache_page(HOT_SECONDS)(view) if settings.SHOP_CACHED else view


api = twin("api")
views = twin("views")

router = SimpleRouter()
router.register("products", api.ProductViewSet)
router.register("categories", api.CategoryViewSet)
router.register("reviews", api.ReviewViewSet)
router.register("orders", api.OrderViewSet)

app_name = "shop"
urlpatterns = [
    path("", hot(views.home), name="home"),
    path("categories/", hot(views.categories), name="categories"),
    path("category/<slug:slug>/", hot(views.CategoryPage.as_view()), name="category"),
    path("brands/", hot(views.brands), name="brands"),
    path("product/<slug:slug>/", hot(views.product), name="product"),
    path("search/", views.search, name="search"),
    path("account/", views.account, name="account"),
    path("orders/<str:number>/", views.order, name="order"),
    path("prices.csv", views.price_list, name="prices"),
    path("reports/sales/<int:year>/<int:month>/", views.sales_report, name="sales_report"),
    path("images/<slug:name>.svg", image, name="image"),
    path("api/carts/<uuid:token>/", api.CartView.as_view(), name="cart"),
    path("api/", include(router.urls)),
]
