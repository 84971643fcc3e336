"""Of which generations an index knows all sets, and which of them searches wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

ASKED = 1_000
"""Generations asked for that are remembered; a search that is refused is repeated anyway."""


class OfGeneration(Protocol):
    """Anything that belongs to a generation."""

    @property
    def generation(self) -> str:
        """The generation."""


T = TypeVar("T", bound=OfGeneration)


class KnownGenerations:
    """All generations but some; none until it is said which. Safe for several threads."""

    def __init__(self, *, all_known: bool) -> None:
        self._changing = threading.Lock()
        # Replaced as a whole; None: nothing was said yet.
        self._unknown: frozenset[str] | None = frozenset() if all_known else None

    def __contains__(self, generation: str) -> bool:
        unknown = self._unknown
        return unknown is not None and generation not in unknown

    @property
    def unknown(self) -> frozenset[str] | None:
        """The generations that are not known, None while no generation is."""
        return self._unknown

    def expect(self, generations: Iterable[str]) -> None:
        """Take note that all generations are known but these."""
        with self._changing:
            self._unknown = frozenset(generations)

    def learn(self, generation: str) -> None:
        """Take note that a generation is known, once it was said which are not."""
        with self._changing:
            if self._unknown is not None:
                self._unknown -= {generation}


class AskedGenerations:
    """The generations that searches found not ready, the oldest first. Safe for several threads."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._asked: dict[str, None] = {}

    def note(self, generation: str) -> None:
        """Take note that a search waits for a generation; beyond `ASKED`, forget the oldest."""
        with self._changing:
            self._asked.setdefault(generation)
            if len(self._asked) > ASKED:
                del self._asked[next(iter(self._asked))]

    def forget(self, generation: str) -> None:
        """Take note that no search waits for a generation any more."""
        with self._changing:
            self._asked.pop(generation, None)

    def take(self, among: Container[str]) -> str | None:
        """Return the oldest of these generations, and forget it; None if none was asked for."""
        with self._changing:
            found = next((one for one in self._asked if one in among), None)
            if found is not None:
                del self._asked[found]
            return found

    def first(self, items: Sequence[T]) -> Iterator[T]:
        """Yield the items in their order, but next those of a generation that is asked for.

        Which one is asked for is looked up before each item.
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
