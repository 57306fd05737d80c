"""The same SQL with the same values twice in one scope, and nothing written between."""

from __future__ import annotations

import pytest
from django.template import Context, Engine

from tests.library.fill import fill
from tests.library.models import Author, Book, Publisher
from tests.optimizer.helpers import findings_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def library(db):
    fill(3)


def test_two_lines_that_ask_the_same_are_both_named():
    def block():
        Author.objects.get(name="author 1")
        Author.objects.get(name="author 1")

    (found,) = findings_of(block, "duplicate")

    first = block.__code__.co_firstlineno
    assert found.subject == "Author"
    assert found.where.line == first + 1
    assert found.change.line == first + 2
    assert f"test_duplicates.py:{first + 2}" in found.summary
    assert found.count == 2


def test_the_same_in_a_loop_is_one_finding():
    def block():
        for _ in range(5):
            Author.objects.count()

    (found,) = findings_of(block, "duplicate")

    assert found.count == 5
    assert "5×" in found.summary


def test_in_a_template_the_line_is_named():
    def block():
        text = "{% for x in 'abc' %}{{ books.count }}{% endfor %}"
        Engine().from_string(text).render(Context({"books": Book.objects.all()}))

    (found,) = findings_of(block, "duplicate")

    assert found.template.line == 1
    assert found.count == 3


def test_other_values_are_no_duplicate():
    def block():
        Author.objects.filter(pk=-1).exists()
        Author.objects.filter(pk=-2).exists()

    assert findings_of(block, "duplicate") == []


def test_after_a_write_it_may_have_changed():
    def block():
        Author.objects.count()
        Publisher.objects.create(name="new")
        Author.objects.count()

    assert findings_of(block, "duplicate") == []


def test_an_n_plus_one_is_not_told_twice():
    Book.objects.update(author=Author.objects.earliest("pk"))

    def block():
        for book in Book.objects.all():
            book.author.name

    assert [found.kind for found in findings_of(block, "duplicate", "n_plus_one")] == ["n_plus_one"]


def test_writes_are_no_duplicates():
    def block():
        Publisher.objects.create(name="same")
        Publisher.objects.create(name="same")

    assert findings_of(block, "duplicate") == []
