"""Every way to write an N+1 is found, named, and given the cure that mends it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import Sum, prefetch_related_objects
from django.template import Context, Engine

from tests.library.fill import fill
from tests.library.models import Author, Book, Note, Review, Shelf, Tag
from tests.optimizer.helpers import afindings_of, findings_of

pytestmark = pytest.mark.django_db

HERE = str(Path(__file__).name)


@pytest.fixture(autouse=True)
def library(db):
    fill()


def render(text: str, **context: Any) -> str:
    engine = Engine(loaders=[("django.template.loaders.locmem.Loader", {"page.html": text, "row.html": ROW})])
    return engine.get_template("page.html").render(Context(context))


ROW = "<li>{{ book.author.name }}</li>"


def foreign_key():
    for book in Book.objects.all():
        book.author.name


def foreign_key_same_target():
    Book.objects.update(author=Author.objects.earliest("pk"))
    for book in Book.objects.all():
        book.author.name


def reverse_foreign_key():
    for book in Book.objects.all():
        list(book.reviews.all())


def reverse_foreign_key_filtered():
    for book in Book.objects.all():
        list(book.reviews.filter(rating__gte=4))


def one_to_one():
    for author in Author.objects.all():
        author.profile.bio


def many_to_many():
    for book in Book.objects.all():
        [tag.name for tag in book.tags.all()]


def many_to_many_backwards():
    for tag in Tag.objects.all():
        list(tag.books.all())


def generic_foreign_key():
    for note in Note.objects.all():
        note.content_object.title


def generic_relation():
    for book in Book.objects.all():
        list(book.notes.all())


def deferred_field():
    for book in Book.objects.only("title"):
        book.pages


def template_loop():
    render("{% for book in books %}<li>{{ book.author.name }}</li>{% endfor %}", books=Book.objects.all())


def template_include():
    render("{% for book in books %}{% include 'row.html' %}{% endfor %}", books=Book.objects.all())


def get_in_loop():
    for pk in list(Author.objects.values_list("pk", flat=True)):
        Author.objects.get(pk=pk)


def get_by_unique_in_loop():
    for name in list(Tag.objects.values_list("name", flat=True)):
        Tag.objects.get(name=name)


def first_in_loop():
    for book in Book.objects.all():
        book.reviews.first()


def filter_in_loop():
    for name in ["a", "b", "c", "d"]:
        list(Author.objects.filter(name=name))


def count_in_loop():
    for book in Book.objects.all():
        book.reviews.count()


def many_to_many_count_in_loop():
    for book in Book.objects.all():
        book.tags.count()


def exists_in_loop():
    for book in Book.objects.all():
        book.reviews.exists()


def aggregate_in_loop():
    for author in Author.objects.all():
        author.books.aggregate(Sum("pages"))


def values_in_loop():
    for book in Book.objects.all():
        list(book.reviews.values("rating"))


def slice_in_loop():
    for book in Book.objects.all():
        list(book.reviews.all()[:1])


def raw_manager_in_loop():
    for pk in range(5):
        list(Author.objects.raw("SELECT id, name FROM library_author WHERE id = %s", [pk]))


def raw_cursor_in_loop():
    with connection.cursor() as cursor:
        for pk in range(5):
            cursor.execute("SELECT name FROM library_author WHERE id = %s", [pk])
            cursor.fetchall()


def raw_literals_in_loop():
    with connection.cursor() as cursor:
        for pk in range(5):
            cursor.execute(f"SELECT name FROM library_author WHERE id = {pk}")
            cursor.fetchall()


def refresh_in_loop():
    for book in list(Book.objects.all()):
        book.refresh_from_db()


def prefetch_single_rows():
    for book in list(Book.objects.all()):
        prefetch_related_objects([book], "tags")


def constants_in_list():
    for book in Book.objects.all():
        list(book.reviews.filter(rating__in=[1, 3, 5]))


def nested_foreign_keys():
    for review in Review.objects.all():
        review.book.author.name


def through_a_prefetch():
    for author in Author.objects.prefetch_related("books"):
        for book in author.books.all():
            book.publisher.name


def through_a_join():
    for review in Review.objects.select_related("book"):
        review.book.publisher.name


def recursion():
    def climb(shelf: Shelf) -> None:
        if shelf.parent:
            climb(shelf.parent)

    for shelf in Shelf.objects.order_by("-pk"):
        climb(shelf)


def comprehension():
    [book.author.name for book in Book.objects.all()]


def helper_in_loop():
    def label(book: Book) -> str:
        return f"{book.title} by {book.author.name}"

    for book in Book.objects.all():
        label(book)


SELECT, PREFETCH = '.select_related("{}")', '.prefetch_related("{}")'

CASES: list[tuple[Callable[[], Any], str, str]] = [
    (foreign_key, "Book.author", SELECT.format("author")),
    (foreign_key_same_target, "Book.author", SELECT.format("author")),
    (reverse_foreign_key, "Book.reviews", PREFETCH.format("reviews")),
    (
        reverse_foreign_key_filtered,
        "Book.reviews",
        'Prefetch("reviews", queryset=Review.objects.filter(rating=...)',
    ),
    (one_to_one, "Author.profile", SELECT.format("profile")),
    (many_to_many, "Book.tags", PREFETCH.format("tags")),
    (many_to_many_backwards, "Tag.books", PREFETCH.format("books")),
    (generic_foreign_key, "Note.content_object", PREFETCH.format("content_object")),
    (generic_relation, "Book.notes", PREFETCH.format("notes")),
    (deferred_field, "Book.pages", '"pages"'),
    (template_loop, "Book.author", SELECT.format("author")),
    (template_include, "Book.author", SELECT.format("author")),
    (get_in_loop, "Author.objects.get()", ".in_bulk(ids)"),
    (get_by_unique_in_loop, "Tag.objects.get()", '.in_bulk(values, field_name="name")'),
    (first_in_loop, "Book.reviews", PREFETCH.format("reviews")),
    (filter_in_loop, "Author.objects.all()", ".filter(name__in=...)"),
    (count_in_loop, "Book.reviews", '.annotate(reviews_count=Count("reviews"))'),
    (many_to_many_count_in_loop, "Book.tags", '.annotate(tags_count=Count("tags"))'),
    (exists_in_loop, "Book.reviews", 'Exists(Review.objects.filter(book=OuterRef("pk")))'),
    (aggregate_in_loop, "Author.books", 'Sum("books__pages")'),
    (values_in_loop, "Book.reviews", PREFETCH.format("reviews")),
    (slice_in_loop, "Book.reviews", PREFETCH.format("reviews")),
    (raw_manager_in_loop, "raw SQL", "IN (...)"),
    (raw_cursor_in_loop, "query", "IN (...)"),
    (raw_literals_in_loop, "query", "IN (...)"),
    (refresh_in_loop, "Book.objects.refresh_from_db()", ".in_bulk(ids)"),
    (prefetch_single_rows, "Book.tags", 'prefetch_related_objects(rows, "tags")'),
    (constants_in_list, "Book.reviews", 'Prefetch("reviews"'),
    (nested_foreign_keys, "Book.author", SELECT.format("book__author")),
    (through_a_prefetch, "Book.publisher", PREFETCH.format("books__publisher")),
    (through_a_join, "Book.publisher", SELECT.format("book__publisher")),
    (recursion, "Shelf.parent", SELECT.format("parent")),
    (comprehension, "Book.author", SELECT.format("author")),
    (helper_in_loop, "Book.author", SELECT.format("author")),
]


@pytest.mark.parametrize(("block", "subject", "code"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_found_named_and_cured(block, subject, code):
    found = [one for one in findings_of(block, "n_plus_one") if one.subject == subject]

    assert [one.subject for one in found] == [subject]
    assert code in found[0].code
    assert found[0].where is not None
    assert found[0].where.file.endswith(HERE)
    first = (render if found[0].template else block).__code__.co_firstlineno
    assert first < found[0].where.line <= first + 12
    assert found[0].count >= 3
    assert found[0].ms > 0


@pytest.mark.parametrize(
    "block",
    [
        foreign_key,
        reverse_foreign_key,
        many_to_many,
        template_loop,
        comprehension,
        through_a_join,
        through_a_prefetch,
    ],
    ids=lambda value: value.__name__,
)
def test_line_to_change_is_where_the_queryset_is_built(block):
    (found,) = findings_of(block, "n_plus_one")

    line = Path(__file__).read_text().splitlines()[found.change.line - 1]
    assert re.search(r"\w+\.objects", line)
    assert found.certain


def test_template_line_is_named():
    (found,) = findings_of(template_include, "n_plus_one")

    assert (found.template.name, found.template.line) == ("row.html", 1)


def test_queryset_built_in_another_function_is_found_there():
    def build() -> Any:
        return _shelves()

    def block() -> None:
        for shelf in _shelves():
            shelf.parent and shelf.parent.name

    Shelf.objects.create(name="x", parent=Shelf.objects.create(name="y"))
    found = [one for one in findings_of(block, "n_plus_one") if one.subject == "Shelf.parent"]

    assert found[0].change.name == "_shelves"


def _shelves() -> Any:
    return Shelf.objects.order_by("pk")


def test_line_is_a_guess_where_two_could_be_meant():
    def block(cheap: bool = False) -> None:
        if cheap:
            books = Book.objects.filter(price=0)
        else:
            books = Book.objects.all()
        for book in books:
            book.author.name

    (found,) = findings_of(block, "n_plus_one")

    assert not found.certain
    assert "guess" in found.cure


def test_the_templates_node_tells_two_querysets_of_one_view_apart():
    def block() -> None:
        cheap = Book.objects.filter(price=0).order_by("title")
        thick = Book.objects.filter(pages__gte=0).order_by("-pages")
        context: dict[str, Any] = {"cheap": [len(cheap)]}
        context["thick"] = thick
        render("{% for book in thick %}{{ book.author.name }}{% endfor %}", **context)

    (found,) = findings_of(block, "n_plus_one")

    assert found.change.line == block.__code__.co_firstlineno + 2
    assert found.certain


async def _async_get() -> None:
    async for book in Book.objects.all():
        await Author.objects.aget(pk=book.author_id)


async def _async_count() -> None:
    async for book in Book.objects.all():
        await book.reviews.acount()


async def _async_iterate() -> None:
    async for book in Book.objects.all():
        [review async for review in book.reviews.all()]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("block", [_async_get, _async_count, _async_iterate], ids=lambda value: value.__name__)
async def test_found_in_coroutines_with_the_coroutines_line(block):
    found = await afindings_of(block, "n_plus_one")

    assert len(found) == 1
    first = block.__code__.co_firstlineno
    assert found[0].where.file.endswith(HERE)
    assert first < found[0].where.line <= first + 3
