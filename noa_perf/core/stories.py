"""Stories: generators that yield what they want done and are sent what came of it, so that one text is sync and async.

When what was wanted cannot be had, the error that says so is thrown into the story; nothing else is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

Wish = TypeVar("Wish")
T = TypeVar("T")


def run(story: Generator[Wish, Any, T], fulfil: Callable[[Wish], Any], error: type[Exception]) -> T:
    """Return what the story comes to, each wish fulfilled by a call; throw ``error`` into it where that is raised."""
    try:
        wish = next(story)
        while True:
            try:
                reply = fulfil(wish)
            except error as failed:
                wish = story.throw(failed)
            else:
                wish = story.send(reply)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


async def arun(story: Generator[Wish, Any, T], fulfil: Callable[[Wish], Awaitable[Any]], error: type[Exception]) -> T:
    """Do the same, each wish fulfilled by an awaitable."""
    try:
        wish = next(story)
        while True:
            try:
                reply = await fulfil(wish)
            except error as failed:
                wish = story.throw(failed)
            else:
                wish = story.send(reply)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
