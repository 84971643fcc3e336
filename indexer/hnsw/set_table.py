"""The sets of an index by key, and small tables of those that need work.

The cost of a search or of a round of the keeper does not depend on how many sets there are. A set
reports every change to the table, which tracks the sets that are not ready, that are loaded, that
changed since they were last found saved, and that had labels marked since they were last found
to need no compaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from indexer.key import SetKey

if TYPE_CHECKING:
    from indexer.hnsw.vector_set import VectorSet


class SetTable:
    """Sets by generation and key. Thread-safe; no other lock is taken while its lock is held."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_generation: dict[str, dict[SetKey, VectorSet]] = {}
        self._dropped: set[str] = set()
        self._count = 0
        self._not_ready: dict[SetKey, VectorSet] = {}
        # Bytes by key, in the order of the last use, oldest first.
        self._loaded: dict[SetKey, int] = {}
        self._memory_bytes = 0
        # A number for each report, which grows, and the last report of each set.
        self._told = 0
        self._unsaved: dict[SetKey, int] = {}
        self._marked: dict[SetKey, int] = {}
        # One bound method for all sets: each look-up would make another object.
        self._on_change = self._note

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: SetKey) -> bool:
        return self.find(key) is not None

    def __getitem__(self, key: SetKey) -> VectorSet:
        return self._by_generation[key.generation][key]

    @property
    def memory_bytes(self) -> int:
        """The memory of all sets in bytes, as each reported at its last change."""
        return self._memory_bytes

    def find(self, key: SetKey) -> VectorSet | None:
        """Return a set, None if there is none."""
        with self._lock:
            return self._by_generation.get(key.generation, {}).get(key)

    def use(self, key: SetKey) -> VectorSet | None:
        """Return a set and note its use; None if there is none."""
        with self._lock:
            if key in self._loaded:
                self._loaded[key] = self._loaded.pop(key)
            return self._by_generation.get(key.generation, {}).get(key)

    def use_or_open(self, key: SetKey, make: Callable[[], VectorSet]) -> VectorSet | None:
        """Return a set as `use` does, made by `make` if it is missing.

        Return None if its generation was dropped for ever.
        """
        with self._lock:
            if key.generation in self._dropped:
                return None
            of_generation = self._by_generation.setdefault(key.generation, {})
            if key not in of_generation:
                vector_set = of_generation[key] = make()
                self._count += 1
                vector_set.on_change = self._on_change
                self._file(vector_set)
            elif key in self._loaded:
                self._loaded[key] = self._loaded.pop(key)
            return of_generation[key]

    def drop(self, generation: str, *, for_ever: bool) -> dict[SetKey, VectorSet]:
        """Remove and return all sets of a generation; `for_ever` also prevents new ones."""
        with self._lock:
            if for_ever:
                self._dropped.add(generation)
            sets = self._by_generation.pop(generation, {})
            self._count -= len(sets)
            for key in sets:
                self._memory_bytes -= self._loaded.pop(key, 0)
                for table in (self._not_ready, self._unsaved, self._marked):
                    table.pop(key, None)
            return sets

    def generations(self) -> set[str]:
        """Return the generations that have sets."""
        with self._lock:
            return set(self._by_generation)

    def of_generation(self, generation: str) -> list[SetKey]:
        """Return the keys of the sets of a generation, [] if it has none."""
        with self._lock:
            return list(self._by_generation.get(generation, ()))

    def all(self) -> dict[SetKey, VectorSet]:
        """Return all sets; the cost grows with their number."""
        with self._lock:
            return {key: one for sets in self._by_generation.values() for key, one in sets.items()}

    def not_ready(self) -> list[SetKey]:
        """Return the keys of the sets that are not ready."""
        with self._lock:
            return list(self._not_ready)

    def not_ready_of(self, generation: str) -> list[SetKey]:
        """Return the keys of the sets of a generation that are not ready."""
        with self._lock:
            sets = self._by_generation.get(generation, {})
            return [key for key, vector_set in sets.items() if not vector_set.ready]

    def loaded(self) -> list[SetKey]:
        """Return the keys of the sets that take memory, least recently used first."""
        with self._lock:
            return list(self._loaded)

    def unsaved(self) -> dict[SetKey, int]:
        """Return the count of changes of each set since its snapshot; sets without are left out."""
        counts: dict[SetKey, int] = {}
        for key, vector_set, told in self._told_of(self._unsaved):
            changes = vector_set.unsaved_changes
            if changes:
                counts[key] = changes
            else:
                self._settle(self._unsaved, key, told)
        return counts

    def marked(self) -> list[tuple[SetKey, VectorSet, int]]:
        """Return the sets to examine for compaction, each with a number for `settle_marked`."""
        return self._told_of(self._marked)

    def settle_marked(self, key: SetKey, told: int) -> None:
        """Remove a set from `marked`, unless it has reported a change since."""
        self._settle(self._marked, key, told)

    def _note(self, vector_set: VectorSet) -> None:
        """Update the tables after a change of a set."""
        key = vector_set.key
        with self._lock:
            # A set that was dropped may still end a change.
            if self._by_generation.get(key.generation, {}).get(key) is vector_set:
                self._file(vector_set)

    def _file(self, vector_set: VectorSet) -> None:
        key = vector_set.key
        if vector_set.ready:
            self._not_ready.pop(key, None)
        else:
            self._not_ready[key] = vector_set
        size = vector_set.memory_bytes
        self._memory_bytes += size - self._loaded.get(key, 0)
        if size:
            self._loaded[key] = size
        else:
            self._loaded.pop(key, None)
        self._told += 1
        if vector_set.is_loaded:
            self._unsaved[key] = self._told
        if size and vector_set.has_marked:
            self._marked[key] = self._told

    def _told_of(self, table: dict[SetKey, int]) -> list[tuple[SetKey, VectorSet, int]]:
        with self._lock:
            return [(key, self[key], told) for key, told in table.items()]

    def _settle(self, table: dict[SetKey, int], key: SetKey, told: int) -> None:
        # A change since then was reported with another number.
        with self._lock:
            if table.get(key) == told:
                del table[key]
