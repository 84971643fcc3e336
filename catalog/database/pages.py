"""Pages of a long list, by cursors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Rows in order; `next` is the cursor of the next page, None at the end of the list."""

    rows: list[T]
    next: str | None


def within(place: str, prefix: str) -> str:
    """Return a cursor that a client sent back, if it belongs to the list with that prefix.

    Raises ValueError for any other, which could lead into another user's list.
    """
    if place and not place.startswith(prefix):
        raise ValueError("not a place of this list")
    return place


def cut(rows: Sequence[U], limit: int, place: Callable[[U], str]) -> tuple[Sequence[U], str | None]:
    """Return the first `limit` rows, and the cursor of the next page.

    `rows` must have been read with a limit one higher. The cursor is None if there is no
    further row.
    """
    page = rows[:limit]
    return page, place(page[-1]) if len(rows) > limit else None
