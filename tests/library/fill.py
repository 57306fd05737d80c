"""Fills the library: few rows, every relation."""

from __future__ import annotations

from tests.library.models import Author, Book, Loan, Note, Profile, Publisher, Review, Shelf, Tag


def fill(books: int = 6) -> None:
    """Create ``books`` books, each with an author, a publisher, two tags, two reviews and a note, most with a loan."""
    for number in range(books):
        author = Author.objects.create(name=f"author {number}")
        Profile.objects.create(author=author, bio="...")
        publisher = Publisher.objects.create(name=f"publisher {number}")
        book = Book.objects.create(title=f"book {number}", author=author, publisher=publisher, pages=number)
        book.tags.set([Tag.objects.create(name=f"a{number}"), Tag.objects.create(name=f"b{number}")])
        Review.objects.bulk_create(Review(book=book, rating=n) for n in (3, 5))
        Loan.objects.bulk_create(Loan(book=book, days=days) for days in range(number % 3))
        Note.objects.create(content_object=book, text="read me")
    shelf = None
    for number in range(4):
        shelf = Shelf.objects.create(name=f"shelf {number}", parent=shelf)
