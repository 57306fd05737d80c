"""Pages that are replayed with a cure, each in its own way easy or hard to prove."""

from __future__ import annotations

import itertools
import secrets
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_list_or_404
from django.template import engines
from django.urls import path
from django.views.generic import ListView
from rest_framework import serializers, viewsets

from tests.library.models import Book

turn = itertools.count()
ticks = itertools.count()


def plain(request: HttpRequest) -> HttpResponse:
    books = Book.objects.order_by("pk")
    return HttpResponse("".join(f"<p>{book.author.name}</p>" for book in books))


def built_upon(request: HttpRequest) -> HttpResponse:
    books = Book.objects.order_by("pk")
    first, last = books[:3], books[3:]
    return HttpResponse("".join(f"<p>{book.author.name}</p>" for part in (first, last) for book in part))


def deferred(request: HttpRequest) -> HttpResponse:
    books = Book.objects.only("title")
    return HttpResponse("".join(f"<p>{book.pages}</p>" for book in books))


def streamed(request: HttpRequest) -> HttpResponse:
    books = Book.objects.order_by("pk").iterator(chunk_size=100)
    return HttpResponse("".join(f"<p>{book.author.name}</p>" for book in books))


def revealing(request: HttpRequest) -> HttpResponse:
    books = Book.objects.order_by("pk")
    return HttpResponse("".join(f"<p>{'author' in book._state.fields_cache} {book.author.name}</p>" for book in books))


def told(books: Any) -> list[str]:
    """Return names that tell whether the authors came with the books."""
    return [f"{'author' in book._state.fields_cache} {book.author.name}" for book in books]


def in_json(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"generated": next(turn), "rows": told(Book.objects.order_by("pk"))})


def in_one_line(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{next(turn)} {' '.join(told(Book.objects.order_by('pk')))}")


def far_down(request: HttpRequest) -> HttpResponse:
    return HttpResponse("x " * 2**20 + "".join(told(Book.objects.order_by("pk"))))


def in_a_header(request: HttpRequest) -> HttpResponse:
    return HttpResponse("", headers={"X-Said": str(len("".join(told(Book.objects.order_by("pk")))))})


def in_a_redirect(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(f"/plain/?n={len(''.join(told(Book.objects.order_by('pk'))))}")


def counted(request: HttpRequest) -> HttpResponse:
    books = Book.objects.order_by("pk")
    return HttpResponse("".join(f"<p>{book.reviews.count()}</p>" for book in books))


def token(request: HttpRequest) -> HttpResponse:
    text = "<form>{% csrf_token %}</form>{% for book in books %}{{ book.author.name }}{% endfor %}"
    return HttpResponse(engines["django"].from_string(text).render({"books": Book.objects.all()}, request))


def clock(request: HttpRequest) -> HttpResponse:
    # It goes on while a cure is tried, and stood still before.
    names = " ".join(book.author.name for book in Book.objects.order_by("pk"))
    return HttpResponse(f"{next(ticks) // 6} {names}")


def restless(request: HttpRequest) -> HttpResponse:
    lines = "<br>" * (1 + next(turn) % 3)
    return HttpResponse(lines + secrets.token_hex(4) + "".join(book.author.name for book in Book.objects.all()))


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("out of paper")


def posting(request: HttpRequest) -> HttpResponse:
    transaction.on_commit(lambda: None)
    return plain(request)


class Listed(ListView):  # type: ignore[type-arg]
    queryset = Book.objects.order_by("pk")
    context_object_name = "books"

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        return HttpResponse("".join(f"<p>{book.author.name}</p>" for book in context["books"]))


class OfModel(ListView):  # type: ignore[type-arg]
    model = Book
    render_to_response = Listed.render_to_response
    context_object_name = "books"


class Shown(serializers.ModelSerializer):  # type: ignore[type-arg]
    writer = serializers.CharField(source="author.name")

    class Meta:
        model = Book
        fields = ["id", "writer"]


class Served(viewsets.ReadOnlyModelViewSet):  # type: ignore[type-arg]
    queryset = Book.objects.order_by("title")
    serializer_class = Shown


def shortcut(request: HttpRequest) -> HttpResponse:
    books = get_list_or_404(Book, pages__gte=0)
    return HttpResponse("".join(f"<p>{book.author.name}</p>" for book in books))


def handed_on(request: HttpRequest) -> HttpResponse:
    context = {"books": Book.objects.all}
    text = "{% for book in books %}{{ book.author.name }}{% endfor %}"
    return HttpResponse(engines["django"].from_string(text).render(context, request))


urlpatterns = [
    path(f"{view.__name__}/", view)
    for view in (plain, built_upon, deferred, streamed, revealing, counted, token, restless, broken, posting)
]
urlpatterns += [path(f"{view.__name__}/", view) for view in (in_json, in_one_line, far_down, clock)]
urlpatterns += [path(f"{view.__name__}/", view) for view in (in_a_header, in_a_redirect)]
urlpatterns += [path("listed/", Listed.as_view()), path("of_model/", OfModel.as_view())]
urlpatterns += [path("shortcut/", shortcut), path("handed_on/", handed_on)]
urlpatterns += [path("served/", Served.as_view({"get": "list"}))]
