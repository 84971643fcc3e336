"""A page of a long list: some rows, and where the next page begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Rows in order; `next` is the place of the last of them, None at the end of the list."""

    rows: list[T]
    next: str | None


def within(place: str, prefix: str) -> str:
    """Return a place that a client sent back, if it is one of the list with that prefix.

    Raises ValueError for any other, which would lead into somebody else's list.
    """
    if place and not place.startswith(prefix):
        raise ValueError("not a place of this list")
    return place


def cut(rows: Sequence[U], limit: int, place: Callable[[U], str]) -> tuple[Sequence[U], str | None]:
    """Return the first `limit` of rows read with one to spare, and where the next page begins."""
    page = rows[:limit]
    return page, place(page[-1]) if len(rows) > limit else None
