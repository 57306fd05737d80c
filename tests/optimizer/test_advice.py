"""Cures applied word for word: they run, they give the same figures, and in fewer queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import Avg, Count, F, Max, Q, QuerySet, Sum, functions, prefetch_related_objects
from django.test.utils import CaptureQueriesContext

from noa_perf.core.findings import Finding
from noa_perf.optimizer import capture
from noa_perf.optimizer.reading import builders
from tests.library import models as library
from tests.library.fill import fill
from tests.library.models import Author, Book, Friend, Note, Review, Tag
from tests.optimizer.helpers import findings_of

pytestmark = pytest.mark.django_db

NAMES = vars(models) | vars(functions) | vars(library) | {"prefetch_related_objects": prefetch_related_objects}


@pytest.fixture(autouse=True)
def books(db):
    fill()
    for book in Book.objects.all():
        book.tags.add(Tag.objects.get_or_create(name=f"all{book.pk % 2}")[0])


def applied(rows: Any, *codes: str) -> Any:
    """Return ``rows`` with each cure's code written behind it, as a reader would."""
    for code in codes:
        rows = eval(f"rows{code}", NAMES | {"rows": rows})
    return rows


def cures(block: Callable[[], Any]) -> list[Finding]:
    return sorted(findings_of(block, "n_plus_one"), key=lambda one: one.subject)


def figures(rows: Any, *names: str) -> list[tuple[Any, ...]]:
    """Return what each row shows under these names, in one query."""
    with CaptureQueriesContext(connection) as queries:
        found = [tuple(getattr(row, name) for name in names) for row in rows]
    assert len(queries) == 1
    return found


# Counts and sums


def test_one_count_needs_no_distinct():
    def block():
        for book in Book.objects.order_by("pk"):
            book.reviews.count()

    (found,) = cures(block)

    assert found.code == '.annotate(reviews_count=Count("reviews"))'


def test_two_counts_on_one_queryset_do_not_multiply():
    def block():
        for book in Book.objects.order_by("pk"):
            book.reviews.count()
            book.tags.count()

    rows = applied(Book.objects.order_by("pk"), *(found.code for found in cures(block)))

    truth = [(book.reviews.count(), book.tags.count()) for book in Book.objects.order_by("pk")]
    assert figures(rows, "reviews_count", "tags_count") == truth


def test_two_counts_of_different_querysets_stay_plain():
    def block():
        for book in Book.objects.order_by("pk"):
            book.reviews.count()
        for book in Book.objects.order_by("title"):
            book.tags.count()

    assert [found.code for found in cures(block)] == [
        '.annotate(reviews_count=Count("reviews"))',
        '.annotate(tags_count=Count("tags"))',
    ]


def test_the_same_count_at_two_places_stays_plain():
    def block():
        rows = Book.objects.order_by("pk")
        for book in rows:
            book.reviews.count()
        for book in rows:
            str(book.reviews.count())

    assert {found.code for found in cures(block)} == {'.annotate(reviews_count=Count("reviews"))'}


def test_a_sum_beside_a_count_is_not_multiplied():
    def block():
        for book in Book.objects.order_by("pk"):
            book.tags.count()
            book.reviews.aggregate(total=Sum("rating"))

    rows = applied(Book.objects.order_by("pk"), *(found.code for found in cures(block)))

    truth = [
        (book.tags.count(), book.reviews.aggregate(total=Sum("rating"))["total"])
        for book in Book.objects.order_by("pk")
    ]
    assert figures(rows, "tags_count", "reviews_value") == truth


def _after_a_filter_on_another_relation() -> QuerySet[Book]:
    return Book.objects.filter(tags__name__startswith="a").order_by("pk").distinct()


def test_a_count_after_a_filter_that_joins_another_relation():
    def block():
        for book in Book.objects.filter(tags__name__startswith="a").order_by("pk").distinct():
            book.reviews.count()

    (found,) = cures(block)

    rows = applied(_after_a_filter_on_another_relation(), found.code)
    assert figures(rows, "reviews_count") == [(2,)] * 6
    assert "distinct=True" in found.code


def test_a_count_after_a_filter_that_joins_the_same_relation():
    def block():
        for book in Book.objects.filter(tags__name__startswith="b").order_by("pk"):
            book.tags.count()

    (found,) = cures(block)

    rows = applied(Book.objects.filter(tags__name__startswith="b").order_by("pk"), found.code)
    assert figures(rows, "tags_count") == [(3,)] * 6


def test_a_count_beside_an_annotation_that_is_there_already():
    def block():
        for book in Book.objects.annotate(many=Count("tags")).order_by("pk"):
            book.reviews.count()

    (found,) = cures(block)

    rows = applied(Book.objects.annotate(many=Count("tags")).order_by("pk"), found.code)
    assert figures(rows, "many", "reviews_count") == [(3, 2)] * 6


def test_a_count_of_what_has_none_is_nought_and_the_lookups_name_is_used():
    def block():
        for book in Book.objects.order_by("pk"):
            book.loan_set.count()

    (found,) = cures(block)

    assert found.code == '.annotate(loan_count=Count("loan"))'
    assert figures(applied(Book.objects.order_by("pk"), found.code), "loan_count") == [(0,), (1,), (2,)] * 2


def test_a_count_inside_a_prefetch_goes_into_the_prefetch():
    def block():
        for author in Author.objects.prefetch_related("books"):
            for book in author.books.all():
                book.reviews.count()

    (found,) = cures(block)

    with CaptureQueriesContext(connection) as queries:
        counts = [
            book.reviews_count for author in applied(Author.objects.all(), found.code) for book in author.books.all()
        ]
    assert counts == [2] * 6
    assert len(queries) == 2
    assert 'in place of a plain "books"' in found.cure


AGGREGATES = [
    (Sum("pages"), 'Sum("books__pages")'),
    (Avg("price"), 'Avg("books__price")'),
    (Max("title"), 'Max("books__title")'),
    (Count("publisher"), 'Count("books__publisher")'),
    (Count("publisher", distinct=True), 'Count("books__publisher", distinct=True)'),
    (Count("*"), 'Count("books")'),
]


@pytest.mark.parametrize(("aggregate", "code"), AGGREGATES, ids=str)
def test_an_aggregate_of_a_column_keeps_its_meaning(aggregate, code):
    def block():
        for author in Author.objects.order_by("pk"):
            author.books.aggregate(value=aggregate)

    (found,) = cures(block)

    truth = [(author.books.aggregate(value=aggregate)["value"],) for author in Author.objects.order_by("pk")]
    assert found.code == f".annotate(books_value={code})"
    assert figures(applied(Author.objects.order_by("pk"), found.code), "books_value") == truth


def test_two_aggregates_in_one_call():
    def block():
        for author in Author.objects.order_by("pk"):
            author.books.aggregate(Sum("pages"), Max("title"))

    (found,) = cures(block)

    rows = applied(Author.objects.order_by("pk"), found.code)
    assert figures(rows, "books_sum_pages", "books_max_title") == [(n, f"book {n}") for n in range(6)]


@pytest.mark.parametrize(
    "aggregate",
    [Sum(F("pages") * F("price")), Sum("pages", filter=Q(price=0)), Sum("reviews__rating")],
    ids=["product", "filtered", "further"],
)
def test_an_aggregate_of_more_than_a_column_is_told_in_words(aggregate):
    def block():
        for author in Author.objects.all():
            author.books.aggregate(value=aggregate)

    (found,) = cures(block)

    assert found.code == ""
    assert "the same expression" in found.cure
    assert found.change.line == block.__code__.co_firstlineno + 1


# Whether there are any


EXISTS = [
    (Book, lambda book: book.reviews.exists(), "has_reviews"),
    (Book, lambda book: book.loan_set.exists(), "has_loan"),
    (Book, lambda book: book.tags.exists(), "has_tags"),
    (Book, lambda book: book.notes.exists(), "has_notes"),
    (Tag, lambda tag: tag.books.exists(), "has_books"),
    (Friend, lambda friend: friend.follows.exists(), "has_follows"),
    (Friend, lambda friend: friend.followers.exists(), "has_followers"),
    (Review, lambda review: review.book.author.books.exists(), "has_book_author_books"),
    (Review, lambda review: review.book.tags.exists(), "has_book_tags"),
    (Review, lambda review: review.book.loan_set.exists(), "has_book_loan"),
]


@pytest.mark.parametrize(("model", "asks", "name"), EXISTS, ids=[name for _, _, name in EXISTS])
def test_exists_by_every_relation(model, asks, name):
    friends = [Friend.objects.create(name=str(number)) for number in range(5)]
    friends[0].follows.set(friends[1:3])
    Note.objects.filter(pk__gt=Note.objects.order_by("pk")[2].pk).delete()
    Note.objects.create(content_object=Author.objects.latest("pk"), text="of another kind")
    Book.objects.earliest("pk").tags.clear()

    def block():
        for row in model.objects.order_by("pk"):
            asks(row)

    (found,) = [one for one in cures(block) if "annotate" in one.code]

    truth = [(asks(row),) for row in model.objects.order_by("pk")]
    assert figures(applied(model.objects.order_by("pk"), found.code), name) == truth


# Ranges


def count_in_ranges(ranges):
    return [Book.objects.filter(pages__gte=low, pages__lt=high).count() for low, high in ranges]


def sum_in_ranges(ranges):
    return [
        Book.objects.filter(pages__gte=low, pages__lt=high).aggregate(total=Sum("price"))["total"]
        for low, high in ranges
    ]


def count_between(ranges):
    return [Book.objects.filter(pages__range=(low, high)).count() for low, high in ranges]


def exists_in_ranges(ranges):
    return [Book.objects.filter(pages__gt=low, pages__lte=high).exists() for low, high in ranges]


RANGES = [(0, 2), (2, 3), (3, 9), (20, 30)]


@pytest.mark.parametrize("asks", [count_in_ranges, sum_in_ranges, count_between, exists_in_ranges])
def test_ranges_in_a_loop_are_asked_for_together(asks):
    (found,) = cures(lambda: asks(RANGES))

    with CaptureQueriesContext(connection) as queries:
        answers = eval(f"Book.objects{found.code}", NAMES | {"ranges": RANGES})
    values = [answers[f"n{number}"] for number in range(len(RANGES))]
    assert [bool(value) for value in values] == [bool(value) for value in asks(RANGES)]
    assert asks is exists_in_ranges or values == asks(RANGES)
    assert len(queries) == 1


def test_rows_of_ranges_are_sorted_in_python():
    def block():
        for low in range(5):
            list(Book.objects.filter(pages__gte=low, pages__lt=low + 1))

    (found,) = cures(block)

    assert found.code == ".filter(pages__gte=low, pages__lt=high)"
    assert "in Python" in found.cure


def test_open_ranges():
    def block():
        for low in range(5):
            Book.objects.filter(pages__gte=low).count()

    (found,) = cures(block)

    answers = eval(f"Book.objects{found.code}", NAMES | {"ranges": range(5)})
    assert list(answers.values()) == [6, 5, 4, 3, 2]


def test_alternatives_are_no_filter_of_a_prefetch():
    def block():
        for book in Book.objects.all():
            list(book.tags.all() | Tag.objects.filter(name__startswith=book.title))

    (found,) = cures(block)

    assert found.code == ""
    assert "alternatives" in found.cure


def test_many_questions_to_one_object_are_asked_at_once():
    book = Book.objects.earliest("pk")

    def block():
        for rating in (1, 2, 3, 4):
            book.reviews.filter(rating=rating).first()

    (found,) = cures(block)

    assert found.code == ".filter(rating__in=...)"
    assert found.change.line == block.__code__.co_firstlineno + 2


def test_the_value_that_varies_is_the_one_to_ask_for():
    def block():
        for name in ["a", "b", "c", "d"]:
            list(Book.objects.filter(pages__gte=1, author__pk=1, title=name))

    (found,) = cures(block)

    assert found.code == ".filter(title__in=...)"


# Other forms of querysets


def test_a_prefetch_before_iterator_needs_a_chunk_size():
    def block():
        for book in Book.objects.all().iterator():
            list(book.reviews.all())

    (found,) = cures(block)

    assert "chunk_size" in found.cure
    assert "before .iterator()" in found.cure


def test_a_union_is_prefetched_as_a_list():
    def block():
        for book in Book.objects.filter(pages__lte=3).union(Book.objects.filter(pages__gt=3)):
            book.author.name

    (found,) = cures(block)

    rows = list(Book.objects.filter(pages__lte=3).union(Book.objects.filter(pages__gt=3)))
    eval(found.code, NAMES | {"rows": rows})
    assert len(figures_of_authors(rows)) == 6


def figures_of_authors(rows: Any) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        names = [row.author.name for row in rows]
    assert len(queries) <= 2
    return names


def test_a_raw_query_takes_a_prefetch():
    def block():
        for book in Book.objects.raw("SELECT * FROM library_book"):
            book.author.name

    (found,) = cures(block)

    assert len(figures_of_authors(applied(Book.objects.raw("SELECT * FROM library_book"), found.code))) == 6


def test_a_join_of_what_only_leaves_out_says_so():
    def block():
        for book in Book.objects.only("title"):
            book.author.name

    said = {found.code: found.cure for found in cures(block)}

    assert '"author"' in said
    assert "only()" in said['.select_related("author")']


def test_values_have_no_relations_to_load():
    def block():
        for row in Book.objects.values():
            Book(**row).author.name

    (found,) = cures(block)

    assert "values()" in found.cure


# Whatever happens


def test_an_error_in_the_search_for_the_line_keeps_the_finding(monkeypatch):
    def broken(*args: Any) -> None:
        raise RecursionError("a file of ten thousand brackets")

    def block():
        for book in Book.objects.all():
            book.author.name
            book.reviews.count()

    monkeypatch.setattr(builders, "find", broken)
    monkeypatch.setattr(capture.faults, "counts", type(capture.faults.counts)())
    found = cures(block)

    assert [one.subject for one in found] == ["Book.author", "Book.reviews"]
    assert [(one.change, one.certain) for one in found] == [(None, False)] * 2
    assert capture.faults.counts
