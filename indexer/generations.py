"""The generations of which an index knows all sets, and those that searches wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

#: How many generations that searches wait for are remembered; refused searches are repeated.
ASKED = 1_000


class OfGeneration(Protocol):
    """An item that belongs to a generation."""

    @property
    def generation(self) -> str:
        """The generation of the item."""


T = TypeVar("T", bound=OfGeneration)


class KnownGenerations:
    """The generations of which all sets are known: all but a list of unknown ones. Thread-safe.

    No generation is known before `expect` gives the list, unless `all_known`.
    """

    def __init__(self, *, all_known: bool) -> None:
        self._changing = threading.Lock()
        # Replaced as a whole; None before `expect`.
        self._unknown: frozenset[str] | None = frozenset() if all_known else None

    def __contains__(self, generation: str) -> bool:
        unknown = self._unknown
        return unknown is not None and generation not in unknown

    @property
    def unknown(self) -> frozenset[str] | None:
        """The generations that are not known, None before `expect` was called."""
        return self._unknown

    def expect(self, generations: Iterable[str]) -> None:
        """Set the generations that are not known."""
        with self._changing:
            self._unknown = frozenset(generations)

    def learn(self, generation: str) -> None:
        """Make a generation known; do nothing before `expect` was called."""
        with self._changing:
            if self._unknown is not None:
                self._unknown -= {generation}


class AskedGenerations:
    """The generations that searches found not ready, oldest request first. Thread-safe."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._asked: dict[str, None] = {}

    def note(self, generation: str) -> None:
        """Note that a search waits for a generation; beyond ASKED, drop the oldest one."""
        with self._changing:
            self._asked.setdefault(generation)
            if len(self._asked) > ASKED:
                del self._asked[next(iter(self._asked))]

    def forget(self, generation: str) -> None:
        """Remove a generation, if it is there."""
        with self._changing:
            self._asked.pop(generation, None)

    def take(self, among: Container[str]) -> str | None:
        """Remove and return the oldest of these generations, None if searches wait for none."""
        with self._changing:
            found = next((one for one in self._asked if one in among), None)
            if found is not None:
                del self._asked[found]
            return found

    def first(self, items: Sequence[T]) -> Iterator[T]:
        """Yield the items in their order, but those of generations that searches wait for first.

        That is looked up before each item, so requests during the iteration count too.
        """
        left: dict[str, deque[T]] = {}
        for item in items:
            left.setdefault(item.generation, deque()).append(item)
        for item in items:
            while (asked := self.take(left)) is not None:
                yield from left.pop(asked)
            if item.generation in left:
                same = left[item.generation]
                same.popleft()
                if not same:
                    del left[item.generation]
                yield item
