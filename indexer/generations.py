"""Of which generations an index knows all sets: what has none there, has no vectors."""

from __future__ import annotations

import threading
from collections.abc import Iterable


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
