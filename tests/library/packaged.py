"""Stands for an installed app that lies among the packages: tests have it counted as one."""

from __future__ import annotations

from typing import Any

from django import template

from tests.library.models import Atlas, Author

register = template.Library()


@register.simple_tag
def author_of(book: Any) -> str:
    """Ask for one more row, for whoever calls."""
    return str(book.author.name)


@register.simple_tag
def first_review(book: Any, rating: int) -> str:
    """Ask for rows of its own choice."""
    return "".join(str(review.text) for review in book.reviews.filter(rating=rating))


@register.simple_tag
def oldest() -> str:
    """Ask twice for the same."""
    return f"{_first()}{_again()}"


def _first() -> str:
    return str(Author.objects.get(pk=Author.objects.earliest("pk").pk).name)


def _again() -> str:
    return str(Author.objects.get(pk=Author.objects.earliest("pk").pk).name)


def whole(item: Any) -> Any:
    """Fetch an item as the atlas that it is."""
    return Atlas.objects.get(pk=item.pk)
