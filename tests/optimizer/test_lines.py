"""The line to change: certain where one line alone can be meant, else a guess that says so, or none."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import django
import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.test import Client, override_settings
from django.urls import path
from django.views.generic import ListView
from rest_framework import generics, serializers

from noa_perf.core.findings import Finding
from noa_perf.optimizer import callsite, capture
from noa_perf.optimizer.collector import Collector
from tests.library.fill import fill
from tests.library.models import Author, Book, Loan, Publisher, Review
from tests.optimizer.helpers import findings_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def library(db):
    fill()


def found_in(block: Callable[[], Any], subject: str = "Book.author") -> Finding:
    (found,) = [one for one in findings_of(block, "n_plus_one") if one.subject == subject]
    return found


def line_of(found: Finding) -> str:
    assert found.change is not None
    return Path(__file__).read_text().splitlines()[found.change.line - 1].strip()


# Frames


def names_of(books: Any) -> list[str]:
    newest = Book.objects.latest("pk")
    return [newest.title, *(book.author.name for book in books)]


def names_beside_a_helper(books: Any) -> list[str]:
    cheap_books()
    return [book.author.name for book in books]


def cheap_books() -> Any:
    return Book.objects.filter(pages__gt=1000)


@pytest.mark.parametrize("shows", [names_of, names_beside_a_helper])
def test_what_is_handed_in_was_built_by_the_caller(shows):
    def block():
        shows(Book.objects.order_by("title"))

    found = found_in(block)

    assert line_of(found) == 'shows(Book.objects.order_by("title"))'
    assert found.certain


def test_where_nobody_seen_builds_it_no_line_is_named():
    books = Book.objects.order_by("title")  # outside of all that is watched, three callers away

    def one(rows):
        Book.objects.latest("pk")
        return [book.author.name for book in rows]

    def two(rows):
        return one(rows)

    def three(rows):
        return two(rows)

    found = found_in(lambda: three(books))

    assert (found.change, found.certain) == (None, False)


def test_a_parameter_with_a_stand_in_is_a_guess():
    def shown(books=None):
        if books is None:
            books = Book.objects.all()
        return [book.author.name for book in books]

    found = found_in(shown)

    assert not found.certain
    assert "guess" in found.cure


def test_two_lists_are_told_apart_by_the_loop():
    def block():
        thin = list(Book.objects.filter(pages__lte=3))
        thick = list(Book.objects.filter(pages__gt=3))
        for book in thin:
            book.author.name
        return thick

    found = found_in(block)

    assert line_of(found) == "thin = list(Book.objects.filter(pages__lte=3))"
    assert found.certain


def test_two_lists_and_no_loop_to_tell_them_apart_are_a_guess():
    def block():
        thin = list(Book.objects.filter(pages__lte=3))
        thick = list(Book.objects.filter(pages__gt=3))
        for one in itertools.chain(thin, thick):
            one.author.name

    assert not found_in(block).certain


def test_what_a_filter_compares_with_is_not_what_is_fetched():
    def block():
        books = Book.objects.order_by("pk")
        for book in books.filter(pk__in=Book.objects.filter(pages__gte=0)):
            book.author.name

    assert line_of(found_in(block)) == 'books = Book.objects.order_by("pk")'


class Report:
    """Builds in one method, and loops in another."""

    def __init__(self) -> None:
        self.kept = Book.objects.order_by("title")

    def rows(self) -> Any:
        return Book.objects.order_by("pk")

    @cached_property
    def shown(self) -> Any:
        return Book.objects.order_by("pages")

    def by_method(self) -> list[str]:
        return [book.author.name for book in self.rows()]

    def by_attribute(self) -> list[str]:
        return [book.author.name for book in self.kept]

    def by_property(self) -> list[str]:
        return [book.author.name for book in self.shown]


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("by_method", 'return Book.objects.order_by("pk")'),
        ("by_attribute", 'self.kept = Book.objects.order_by("title")'),
        ("by_property", 'return Book.objects.order_by("pages")'),
    ],
)
def test_methods_attributes_and_properties_are_followed(method, line):
    found = found_in(getattr(Report(), method))

    assert line_of(found) == line
    assert found.certain


def test_through_loops_with_and_lists_that_grow():
    def block():
        grown: list[Any] = []
        grown.extend(Book.objects.order_by("pk"))
        for _, group in itertools.groupby(grown, lambda book: book.pages // 3):
            for book in group:
                book.author.name

    assert line_of(found_in(block)) == 'grown.extend(Book.objects.order_by("pk"))'


def test_the_row_of_a_join_that_is_selected_is_followed_and_no_other():
    def block():
        for review in Review.objects.select_related("book").filter(book__author__name__startswith="a"):
            review.book.publisher.name

    found = found_in(block, "Book.publisher")

    assert found.code == '.select_related("book__publisher")'


def test_filtered_rows_of_a_relation_are_changed_where_they_are_filtered():
    def block():
        for author in Author.objects.all():
            for book in author.books.filter(pages__gte=0):
                book.publisher.name

    found = found_in(block, "Book.publisher")

    assert found.code == '.select_related("publisher")'
    assert line_of(found) == "for book in author.books.filter(pages__gte=0):"


# Views


class BookSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    author = serializers.CharField(source="author.name")

    class Meta:
        model = Book
        fields = ("title", "author")


class BooksApi(generics.ListAPIView):  # type: ignore[type-arg]
    queryset = Book.objects.order_by("pk")
    serializer_class = BookSerializer


class FilteredApi(generics.ListAPIView):  # type: ignore[type-arg]
    serializer_class = BookSerializer

    def get_queryset(self):
        thick = Book.objects.filter(pages__gte=0)
        return thick.filter(pk__in=Book.objects.values("pk")).order_by("pk")


class Books(ListView):  # type: ignore[type-arg]
    model = Book
    template_name = "library/two_lists.html"

    def get_queryset(self):
        return Book.objects.order_by("title")

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        context["newest"] = Book.objects.order_by("-pk")
        context["cover"] = Book.objects.first()
        return context


class BooksShown(Books):
    template_name = "library/book_list.html"


def deferred_page(request: HttpRequest) -> HttpResponse:
    books = Book.objects.order_by("pages")
    return TemplateResponse(request, "library/two_lists.html", {"newest": books})


def of_the_template(request: HttpRequest) -> HttpResponse:
    author = Author.objects.earliest("pk")
    Book.objects.update(author=author)
    return TemplateResponse(request, "library/author.html", {"author": author})


class LoanInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Loan
    fields = ("days", "lent_by")
    readonly_fields = ("lent_by",)
    extra = 0

    def lent_by(self, loan):
        return loan.publisher.name


class BookAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display: tuple[str, ...] = ("title", "writer")
    inlines = (LoanInline,)

    def writer(self, book):
        return book.author.name


class JoiningBookAdmin(BookAdmin):
    list_select_related = ("publisher",)


class PlainlyJoiningBookAdmin(BookAdmin):
    # For the publisher's sake, Django joins what cannot be null; from 6.1 on, the publisher.
    list_display = ("publisher", "writer", "reviews_written")

    def reviews_written(self, book):
        return book.reviews.count()


class NarrowedBookAdmin(PlainlyJoiningBookAdmin):
    list_select_related = ("author",)

    def get_queryset(self, request):
        return super().get_queryset(request).exclude(title="")


class ChoosingBookAdmin(BookAdmin):
    def get_list_select_related(self, request):
        return ("publisher",)


def _admin(kind: Any) -> Any:
    site = admin.AdminSite(name=f"admin_{kind.__name__}".lower())
    site.register(Book, kind)
    return site.urls


ADMINS = (BookAdmin, JoiningBookAdmin, PlainlyJoiningBookAdmin, NarrowedBookAdmin, ChoosingBookAdmin)
urlpatterns = [
    path("api/", BooksApi.as_view()),
    path("filtered/", FilteredApi.as_view()),
    path("books/", Books.as_view()),
    path("shown/", BooksShown.as_view()),
    path("deferred/", deferred_page),
    path("template/", of_the_template),
    *(path(f"{kind.__name__}/", _admin(kind)) for kind in ADMINS),
]


def served(url: str, subject: str) -> Finding:
    """Return what a request finds about ``subject``."""
    collector, client = Collector(), Client()
    client.force_login(User.objects.create_superuser("root"))
    with override_settings(ROOT_URLCONF=__name__), capture.quiet(), capture.listening(collector.add):
        assert client.get(url).status_code == 200
    (found,) = [one for one in collector.findings() if (one.kind, one.subject) == ("n_plus_one", subject)]
    return found


PAGES = [
    ("/api/", 'queryset = Book.objects.order_by("pk")', True),
    ("/filtered/", "thick = Book.objects.filter(pages__gte=0)", True),
    ("/books/", 'context["newest"] = Book.objects.order_by("-pk")', True),
    ("/shown/", 'return Book.objects.order_by("title")', True),
    ("/deferred/", 'books = Book.objects.order_by("pages")', True),
]


@pytest.mark.parametrize(("url", "line", "certain"), PAGES)
def test_the_line_of_a_view(url, line, certain):
    found = served(url, "Book.author")

    assert (line_of(found), found.certain) == (line, certain)
    assert found.code == '.select_related("author")'


def test_a_template_that_asks_for_the_rows_itself_is_named():
    found = served("/template/", "Book.publisher")

    assert (found.change.name, found.change.line) == ("library/author.html", 1)
    assert "in the template asks for the rows" in found.cure


# The admin


def test_a_changelist_joins_by_its_attribute():
    found = served("/BookAdmin/library/book/", "Book.author")

    assert found.code == 'list_select_related = ("author",)'
    assert line_of(found) == "class BookAdmin(admin.ModelAdmin):  # type: ignore[type-arg]"


def test_what_a_changelist_joins_already_is_kept():
    found = served("/JoiningBookAdmin/library/book/", "Book.author")

    assert found.code == 'list_select_related = ("publisher", "author")'
    assert line_of(found) == 'list_select_related = ("publisher",)'


def test_what_django_joins_of_its_own_accord_is_kept():
    joined, other = ("author", "publisher") if django.VERSION < (6, 1) else ("publisher", "author")

    found = served("/PlainlyJoiningBookAdmin/library/book/", f"Book.{other}")

    assert found.code == f'list_select_related = ("{joined}", "{other}")'


def test_a_count_on_a_changelist_goes_into_its_queryset():
    found = served("/PlainlyJoiningBookAdmin/library/book/", "Book.reviews")

    assert found.code == 'super().get_queryset(request).annotate(reviews_count=Count("reviews"))'
    assert line_of(found) == "class PlainlyJoiningBookAdmin(BookAdmin):"


def test_a_queryset_that_an_admin_has_already_is_the_line():
    found = served("/NarrowedBookAdmin/library/book/", "Book.reviews")

    assert line_of(found) == "def get_queryset(self, request):"
    assert "to what NarrowedBookAdmin.get_queryset at" in found.cure


def test_a_method_that_says_what_a_changelist_joins_is_the_line():
    found = served("/ChoosingBookAdmin/library/book/", "Book.author")

    assert line_of(found) == "def get_list_select_related(self, request):"
    assert found.cure.startswith('Have ChoosingBookAdmin.get_list_select_related return "author" as well')


def test_an_inline_of_a_change_page_has_a_queryset_of_its_own():
    book = Book.objects.earliest("pk")
    for days in range(4):
        Loan.objects.create(book=book, days=days, publisher=Publisher.objects.create(name=str(days)))

    found = served(f"/BookAdmin/library/book/{book.pk}/change/", "Loan.publisher")

    assert found.code == 'super().get_queryset(request).select_related("publisher")'
    assert line_of(found) == "class LoanInline(admin.TabularInline):  # type: ignore[type-arg]"
    assert "list_select_related" not in found.cure


# Templates of another kind


COMPILED = """
from __future__ import annotations
def root(context):
    for book in context["books"]:
        yield str(book.author.name)
"""


class Compiled:
    """What Jinja leaves in the globals of a template that it compiled."""

    def get_corresponding_lineno(self, line: int) -> int:
        return {4: 2, 5: 3}[line]


def test_a_template_of_jinjas_is_named_by_its_own_line(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<ul>\n{% for book in books %}\n{{ book.author.name }}\n{% endfor %}")
    names: dict[str, Any] = {"__jinja_template__": Compiled()}
    exec(compile(COMPILED, str(page), "exec"), names)

    def block():
        books = Book.objects.order_by("pk")
        others = Book.objects.order_by("title")
        return list(names["root"]({"books": books, "others": others}))

    found = found_in(block)

    assert found.certain
    assert found.where is not None
    assert (found.where.file, found.where.line) == (callsite.relative(str(page)), 3)
    assert line_of(found) == 'books = Book.objects.order_by("pk")'


def test_a_subquery_among_the_columns_hides_no_table():
    def block():
        for book in Book.objects.annotate(lent=Exists(Loan.objects.filter(book=OuterRef("pk")))):
            book.author.name

    found = found_in(block)

    assert line_of(found).startswith("for book in Book.objects.annotate(")
    assert found.certain


def test_what_an_n_plus_one_drags_along_is_no_duplicate():
    publisher = Publisher.objects.earliest("pk")
    Book.objects.update(publisher=publisher)

    def block():
        for pk in list(Book.objects.values_list("pk", flat=True)):
            Book.objects.filter(title__gt="").prefetch_related("publisher", "reviews").get(pk=pk)

    assert {one.kind for one in findings_of(block)} == {"n_plus_one"}
