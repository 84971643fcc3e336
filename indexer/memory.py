"""The exact twin of the vector engine: sets in NumPy, each compared completely by a search.

For tests and small experiments, which it shows what an index must answer. It keeps no snapshots,
and so there is nothing to save, to lose or to unload.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexer.generations import AskedGenerations, KnownGenerations
from indexer.key import SetKey
from indexer.neighbours import Neighbours, merge, no_neighbours
from indexer.set_state import SetState
from indexer.vector_store import SetNotReadyError
from indexer.vectors import Vector, check_additions, check_query, in_one_array
from indexer.without_snapshots import WithoutSnapshots


@dataclass
class MemorySet:
    """Vectors (n, dimensions) of norm 1 by label; those of `deleted` labels are not found."""

    ready: bool
    vectors: dict[int, Vector] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)

    @property
    def live(self) -> set[int]:
        """The labels that a search can find, once the set is ready."""
        return self.vectors.keys() - self.deleted

    @property
    def state(self) -> SetState:
        """The state for monitoring."""
        shards = int(bool(self.vectors))
        return SetState(len(self.live), len(self.deleted), shards, self.ready, True, None)


class MemoryStore(WithoutSnapshots):
    """A `VectorStore` in the memory of this process; one lock makes it thread-safe."""

    def __init__(self, dimensions: int, is_complete: bool = True, parts: int = 1) -> None:
        """Take `is_complete`: False if there may be sets that `expect` and `learn` will name.

        `parts` is the most vectors of an image.
        """
        self._dimensions = dimensions
        self._parts = parts
        self._lock = threading.RLock()
        self._sets: dict[SetKey, MemorySet] = {}
        self._dropped: set[str] = set()
        self._known = KnownGenerations(all_known=is_complete)
        self.asked = AskedGenerations()

    def add(self, key: SetKey, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add vectors of labels that the set does not hold; return how many. Raises ValueError."""
        runs = check_additions(labels, vectors, self._dimensions, self._parts)
        with self._lock:
            if len(labels) == 0 or key.generation in self._dropped:
                return 0
            one = self._sets.setdefault(key, MemorySet(ready=self.is_known(key.generation)))
            before = len(one.vectors)
            for label, run in runs.items():
                one.vectors.setdefault(label, _unit(vectors[run]))
            return len(one.vectors) - before

    def mark_deleted(self, key: SetKey, labels: Sequence[int]) -> int:
        """Hide labels from later searches, and return how many of them the set does not hold."""
        with self._lock:
            held = self.held(key, labels)
            if held:
                self._sets[key].deleted |= held
            return len(set(labels)) - len(held)

    def revive(self, key: SetKey, labels: Sequence[int]) -> set[int]:
        """Make deleted labels of a set findable again; return which ones."""
        with self._lock:
            revived = self._find(key).deleted.intersection(labels)
            self._find(key).deleted -= revived
            return revived

    def search(self, keys: Sequence[SetKey], vectors: NDArray[np.float32], k: int) -> Neighbours:
        """Return the `k` nearest live labels. Raises ValueError and SetNotReadyError."""
        check_query(vectors, k, self._dimensions)
        with self._lock:
            for key in keys:
                if not (self.is_ready(key) if key in self._sets else self.is_known(key.generation)):
                    self.asked.note(key.generation)
                    raise SetNotReadyError(f"{key} is being built, or may exist unknown")
            return merge([self._near(self._find(key), vectors) for key in keys], k)

    def _near(self, one: MemorySet, queries: NDArray[np.float32]) -> Neighbours:
        live = {label: one.vectors[label] for label in one.live}
        if not live:
            return no_neighbours()
        labels, vectors = in_one_array(live)
        similarities = np.vecdot(vectors[np.newaxis], _unit(queries)[:, np.newaxis])
        return Neighbours(np.tile(labels, (len(queries), 1)), np.clip(similarities, -1.0, 1.0))

    def live_labels(self, key: SetKey) -> set[int]:
        """Return the labels of a set that are not deleted."""
        with self._lock:
            return self._find(key).live

    def held(self, key: SetKey, labels: Sequence[int]) -> set[int]:
        """Return the labels among `labels` that a set has, deleted or not."""
        with self._lock:
            return self._find(key).vectors.keys() & set(labels)

    def contains(self, key: SetKey, label: int) -> bool:
        """Return whether a search of the set can find the label."""
        return label in self.live_labels(key)

    def count(self, key: SetKey) -> int:
        """Return how many labels of the set are not deleted."""
        return len(self.live_labels(key))

    def create(self, key: SetKey) -> None:
        """Create a set that is not ready, unless it exists or its generation was dropped."""
        with self._lock:
            if key.generation not in self._dropped:
                self._sets.setdefault(key, MemorySet(ready=False))

    def keys(self) -> list[SetKey]:
        """Return the keys of all sets."""
        with self._lock:
            return list(self._sets)

    @property
    def set_count(self) -> int:
        """How many sets there are."""
        return len(self._sets)

    def generations(self) -> set[str]:
        """Return the generations that have sets."""
        return {key.generation for key in self.keys()}

    def keys_of(self, generation: str) -> list[SetKey]:
        """Return the keys of all sets of a generation. Raises SetNotReadyError."""
        if not self.is_known(generation):
            self.asked.note(generation)
            raise SetNotReadyError(f"the sets of {generation} are not all known yet")
        return [key for key in self.keys() if key.generation == generation]

    def drop_generation(self, generation: str, *, for_ever: bool = True) -> int:
        """Remove all sets of a generation, and return how many there were."""
        with self._lock:
            if for_ever:
                self._dropped.add(generation)
            self.asked.forget(generation)
            gone = [key for key in self._sets if key.generation == generation]
            for key in gone:
                del self._sets[key]
            return len(gone)

    def state(self) -> dict[SetKey, SetState]:
        """Return the state of every set; one that holds anything is one shard."""
        with self._lock:
            return {key: one.state for key, one in self._sets.items()}

    def expect(self, unknown: Iterable[str]) -> None:
        """Set the generations of which not all sets are known."""
        self._known.expect(unknown)

    def learn(self, generation: str, keys: Iterable[SetKey]) -> None:
        """Make a generation known, with these sets and those that exist."""
        with self._lock:
            if not self.is_known(generation):
                for key in keys:
                    self.create(key)
                self._known.learn(generation)

    def is_known(self, generation: str) -> bool:
        """Return whether all sets of a generation are known."""
        return generation in self._known

    def unknown(self) -> frozenset[str]:
        """Return the generations of `expect` that are still unknown."""
        return self._known.unknown or frozenset()

    @property
    def is_begun(self) -> bool:
        """Whether `expect` was called, or all sets were known from the start."""
        return self._known.unknown is not None

    @property
    def is_complete(self) -> bool:
        """Whether all sets of all generations are known."""
        return self.is_begun and not self.unknown()

    def now_ready(self, key: SetKey) -> None:
        """Make a set ready, if it exists."""
        with self._lock:
            self._find(key).ready = True

    def is_ready(self, key: SetKey) -> bool:
        """Return whether the set exists and is ready."""
        with self._lock:
            return self._find(key).ready

    def not_ready(self) -> list[SetKey]:
        """Return the keys of the known sets that are not ready."""
        with self._lock:
            return [key for key, one in self._sets.items() if not one.ready]

    def not_ready_of(self, generation: str) -> list[SetKey]:
        """Return the keys of the known sets of a generation that are not ready."""
        return [key for key in self.not_ready() if key.generation == generation]

    @property
    def memory_bytes(self) -> int:
        """The memory of all vectors in bytes."""
        with self._lock:
            parts = (some for one in self._sets.values() for some in one.vectors.values())
            return sum(some.nbytes for some in parts)

    def compact(self, share: float, stopping: threading.Event) -> int:
        """Remove deleted labels where they are more than `share` of a set; return how many sets."""
        with self._lock:
            done = 0
            for one in self._sets.values():
                if not stopping.is_set() and len(one.deleted) > share * len(one.vectors):
                    one.vectors = {label: one.vectors[label] for label in one.live}
                    one.deleted = set()
                    done += 1
            return done

    def _find(self, key: SetKey) -> MemorySet:
        """Return a set, or one that is empty and not kept if there is none."""
        return self._sets.get(key, MemorySet(ready=False))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled
