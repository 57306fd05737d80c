"""Routes of the shop; both twins answer the same ones."""

from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from .images import image
from .twin import twin

api = twin("api")
views = twin("views")

router = SimpleRouter()
router.register("products", api.ProductViewSet)
router.register("categories", api.CategoryViewSet)
router.register("reviews", api.ReviewViewSet)
router.register("orders", api.OrderViewSet)

app_name = "shop"
urlpatterns = [
    path("", views.home, name="home"),
    path("categories/", views.categories, name="categories"),
    path("category/<slug:slug>/", views.CategoryPage.as_view(), name="category"),
    path("brands/", views.brands, name="brands"),
    path("product/<slug:slug>/", views.product, name="product"),
    path("search/", views.search, name="search"),
    path("account/", views.account, name="account"),
    path("orders/<str:number>/", views.order, name="order"),
    path("prices.csv", views.price_list, name="prices"),
    path("reports/sales/<int:year>/<int:month>/", views.sales_report, name="sales_report"),
    path("images/<slug:name>.svg", image, name="image"),
    path("api/carts/<uuid:token>/", api.CartView.as_view(), name="cart"),
    path("api/", include(router.urls)),
]
