"""Querysets asked for more than is used, and look-alikes that are right as they stand."""

from __future__ import annotations

import pytest

from tests.library.fill import fill
from tests.library.models import Author, Book
from tests.optimizer.helpers import findings_of

pytestmark = pytest.mark.django_db
KINDS = ("len_for_count", "bool_for_exists", "values_would_do", "unread_columns")


@pytest.fixture(autouse=True)
def library(db):
    fill(4)


def len_of_expression():
    return len(Book.objects.filter(pages__gte=1))


def len_of_name():
    books = Book.objects.filter(pages__gte=1)
    return len(books)


def len_then_another_query():
    books = Book.objects.filter(pages__gte=1)
    total = len(books)
    return total, list(books.order_by("title")[:2])


def truth_of_expression():
    if Book.objects.filter(pages__gte=1):
        return True
    return False


def truth_of_name():
    books = Book.objects.filter(pages__gte=1)
    return "yes" if books else "no"


def bool_of_expression():
    return bool(Book.objects.all())


def one_column():
    return [book.pk for book in Book.objects.all()]


def two_columns():
    return {book.pk: book.title for book in Book.objects.all()}


def truth_of_related_rows():
    for author in Author.objects.all()[:1]:
        if author.books.filter(pages__gte=0):
            return True
    return False


def len_of_a_name_that_goes_on():
    books = Book.objects.filter(pages__gte=1)
    books = books.exclude(title="")
    return len(books)


FOUND = [
    (len_of_a_name_that_goes_on, "len_for_count", ".count()"),
    (truth_of_related_rows, "bool_for_exists", ".exists()"),
    (len_of_expression, "len_for_count", ".count()"),
    (len_of_name, "len_for_count", ".count()"),
    (len_then_another_query, "len_for_count", ".count()"),
    (truth_of_expression, "bool_for_exists", ".exists()"),
    (truth_of_name, "bool_for_exists", ".exists()"),
    (bool_of_expression, "bool_for_exists", ".exists()"),
    (one_column, "values_would_do", '.values_list("pk", flat=True)'),
    (two_columns, "values_would_do", '.values_list("pk", "title")'),
]


@pytest.mark.parametrize(("block", "kind", "code"), FOUND, ids=lambda value: getattr(value, "__name__", ""))
def test_found(block, kind, code):
    (found,) = findings_of(block, *KINDS)

    assert (found.kind, found.code, found.subject) == (kind, code, "Book")
    first = block.__code__.co_firstlineno
    assert first < found.change.line <= first + 3
    assert found.certain


def len_and_loop():
    books = Book.objects.filter(pages__gte=1)
    total = len(books)
    return total, [book.title.upper() + book.blurb + str(book.pages) for book in books]


def truth_and_loop():
    books = Book.objects.filter(pages__gte=1)
    if books:
        return [str(book) for book in books]
    return []


def len_of_parameter(books=None):
    return len(books if books is not None else Book.objects.none())


def len_and_return():
    books = Book.objects.filter(pages__gte=1)
    total = len(books)
    return total, books


def whole_objects():
    return [(book.pk, book) for book in Book.objects.all()]


def a_method_of_the_object():
    return [book.get_deferred_fields() for book in Book.objects.all()]


def a_relation():
    return [book.author.name for book in Book.objects.select_related("author")]


def count_and_exists():
    return Book.objects.count(), Book.objects.exists()


def list_of_a_queryset():
    return len(list(Book.objects.all()))


class Kept:
    """Rows fetched once, and asked for in many ways."""

    rows_kept = None

    def rows(self):
        if self.rows_kept is None:
            self.rows_kept = Book.objects.filter(pages__gte=0)
        return self.rows_kept

    def anew(self):
        return Book.objects.filter(pages__gte=0)


def truth_of_rows_that_are_kept():
    kept = Kept()
    if kept.rows():
        return [str(book) for book in kept.rows()]
    return []


def length_of_rows_that_are_kept():
    kept = Kept()
    total = len(kept.rows())
    return total, [str(book) for book in kept.rows()]


def length_of_a_method_that_asks_anew():
    kept = Kept()
    total = len(kept.anew())
    return total, [str(book) for book in kept.anew()]


def length_of_a_name_for_rows_that_are_kept():
    kept = Kept()
    rows = kept.rows()
    return len(rows), [str(book) for book in kept.rows()]


def column_of_rows_that_are_kept():
    kept = Kept()
    return [book.pk for book in kept.rows()], [str(book) for book in kept.rows()]


def length_of_a_helper():
    return len(_all_books())


def _all_books():
    return Book.objects.all()


SILENT = [
    truth_of_rows_that_are_kept,
    length_of_rows_that_are_kept,
    length_of_a_method_that_asks_anew,
    length_of_a_name_for_rows_that_are_kept,
    column_of_rows_that_are_kept,
    length_of_a_helper,
    len_and_loop,
    truth_and_loop,
    len_of_parameter,
    len_and_return,
    whole_objects,
    a_method_of_the_object,
    a_relation,
    count_and_exists,
    list_of_a_queryset,
]


@pytest.mark.parametrize("block", SILENT, ids=lambda value: value.__name__)
def test_silent(block):
    assert findings_of(block, *KINDS) == []


def test_a_queryset_from_elsewhere_is_not_judged():
    def block():
        count(Book.objects.all())

    def count(books):
        return len(books)

    assert findings_of(block, *KINDS) == []


@pytest.fixture
def wide():
    Book.objects.all().delete()
    author = Author.objects.create(name="x")
    Book.objects.bulk_create(Book(title=str(n), author=author, blurb="long " * 300) for n in range(30))


def _serve(view, url_pattern="x/"):
    """Return what a request to ``view`` finds."""
    from django.test import RequestFactory

    from noa_perf.optimizer import capture
    from noa_perf.optimizer.collector import Collector
    from noa_perf.optimizer.middleware import QueryMonitorMiddleware

    collector = Collector()
    with capture.quiet(), capture.listening(collector.add):
        QueryMonitorMiddleware(view)(RequestFactory().get("/"))
    return [one for one in collector.findings() if one.kind == "unread_columns"]


def titles(request):
    from django.shortcuts import render

    return render(request, "library/titles.html", {"books": Book.objects.all()})


def blurbs(request):
    from django.shortcuts import render

    return render(request, "library/blurbs.html", {"books": Book.objects.all()})


def included(request):
    from django.shortcuts import render

    return render(request, "library/included.html", {"books": Book.objects.all()})


def test_wide_text_that_no_template_names_is_a_guess(wide):
    (found,) = _serve(titles)

    assert found.code == '.defer("blurb")'
    assert not found.certain
    assert found.change.line == titles.__code__.co_firstlineno + 3


@pytest.mark.parametrize("view", [blurbs, included], ids=lambda value: value.__name__)
def test_wide_text_that_a_template_names_is_silent(wide, view):
    assert _serve(view) == []


def test_few_rows_are_not_worth_a_word(wide):
    Book.objects.filter(pk__gt=Book.objects.order_by("pk")[9].pk).delete()

    assert _serve(titles) == []
