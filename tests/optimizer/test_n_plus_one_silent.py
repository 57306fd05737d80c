"""What looks like an N+1 and is none stays silent."""

from __future__ import annotations

import pytest
from django.core.paginator import Paginator
from django.db.models import prefetch_related_objects
from django.template import Context, Engine

from tests.library.fill import fill
from tests.library.models import Author, Book, Note, Publisher, Review, Tag
from tests.optimizer.helpers import findings_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def library(db):
    fill(12)


def select_related():
    for book in Book.objects.select_related("author"):
        book.author.name


def prefetch_related():
    for book in Book.objects.prefetch_related("tags", "reviews", "notes"):
        list(book.tags.all()), list(book.reviews.all()), list(book.notes.all())


def chunked_iterator_with_prefetch():
    for book in Book.objects.prefetch_related("tags").iterator(chunk_size=3):
        list(book.tags.all())


def chunked_iterator_whose_last_chunk_is_one_row():
    for book in Book.objects.order_by("pk")[:10].prefetch_related("tags").iterator(chunk_size=3):
        list(book.tags.all())


def in_batches():
    keys = list(Book.objects.values_list("pk", flat=True))
    for start in range(0, 12, 3):
        list(Book.objects.filter(pk__in=keys[start : start + 3]))


def in_bulk_batches():
    keys = list(Book.objects.values_list("pk", flat=True))
    for start in range(0, 12, 4):
        Book.objects.in_bulk(keys[start : start + 4])


def pagination():
    for page in Paginator(Book.objects.order_by("pk"), 3):
        list(page)


def slices():
    for start in range(0, 12, 3):
        list(Book.objects.order_by("pk")[start : start + 3])


def keyset_pagination():
    last = 0
    while rows := list(Book.objects.filter(pk__gt=last).order_by("pk")[:3]):
        last = rows[-1].pk


def get_or_create_seeding():
    for name in ["x", "y", "z", "a0", "b0"]:
        Tag.objects.get_or_create(name=name)


def update_or_create_seeding():
    for name in ["x", "y", "z", "a0", "b0"]:
        Tag.objects.update_or_create(name=name)


def two_gets_on_one_line():
    first, second, third = Author.objects.order_by("pk")[:3].values_list("pk", flat=True)
    Author.objects.get(pk=first), Author.objects.get(pk=second), Author.objects.get(pk=third)


def two_accesses_in_one_template():
    one, two, three = Book.objects.all()[:3]
    text = "{{ one.author.name }}{{ two.author.name }}\n{{ three.author.name }}"
    Engine().from_string(text).render(Context({"one": one, "two": two, "three": three}))


def helper_called_from_three_places():
    def inner(pk: int) -> Author:
        return Author.objects.get(pk=pk)

    def middle(pk: int) -> Author:
        return inner(pk)

    def outer(pk: int) -> Author:
        return middle(pk)

    keys = list(Author.objects.values_list("pk", flat=True))
    outer(keys[0])
    outer(keys[1])
    outer(keys[2])


def include_from_three_places():
    loader = ("django.template.loaders.locmem.Loader", {"name.html": "{{ book.author.name }}"})
    engine = Engine(loaders=[loader])
    text = "".join(f"{{% include 'name.html' with book={name} %}}" for name in "abc")
    a, b, c = Book.objects.all()[:3]
    engine.from_string(text).render(Context({"a": a, "b": b, "c": c}))


def write_loop():
    for book in list(Book.objects.all()):
        book.pages += 1
        book.save()


def bulk_create_in_batches():
    for _ in range(4):
        Publisher.objects.bulk_create([Publisher(name="a"), Publisher(name="b")])


def prefetch_many_rows_repeatedly():
    for _ in range(3):
        prefetch_related_objects(list(Book.objects.order_by("pk")), "tags")


def generic_prefetch():
    for note in Note.objects.prefetch_related("content_object"):
        note.content_object.title


def one_query():
    Review.objects.count()


SILENT = [
    select_related,
    prefetch_related,
    chunked_iterator_with_prefetch,
    chunked_iterator_whose_last_chunk_is_one_row,
    in_batches,
    in_bulk_batches,
    pagination,
    slices,
    keyset_pagination,
    get_or_create_seeding,
    update_or_create_seeding,
    two_gets_on_one_line,
    two_accesses_in_one_template,
    helper_called_from_three_places,
    include_from_three_places,
    write_loop,
    bulk_create_in_batches,
    prefetch_many_rows_repeatedly,
    generic_prefetch,
    one_query,
]


@pytest.mark.parametrize("block", SILENT, ids=lambda value: value.__name__)
def test_stays_silent(block):
    assert [f"{one.subject}: {one.summary}" for one in findings_of(block, "n_plus_one")] == []


def test_write_loop_is_reported_apart():
    (found,) = findings_of(write_loop, "write_loop")

    assert found.subject == "Book"
    assert "bulk_update" in found.code


def test_loop_of_creates_names_bulk_create():
    def block() -> None:
        for name in "abcd":
            Publisher.objects.create(name=name)

    (found,) = findings_of(block, "write_loop")

    assert "Publisher.objects.bulk_create" in found.cure


@pytest.mark.parametrize("block", [get_or_create_seeding, bulk_create_in_batches], ids=lambda value: value.__name__)
def test_seeding_and_batches_are_no_write_loop(block):
    assert findings_of(block, "write_loop") == []
