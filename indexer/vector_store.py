"""The port of vector engines: what the index process needs of the vectors of one model.

`indexer.hnsw` stands behind it in production, `indexer.memory` in tests and small experiments. A
store knows labels, no images: which rows there are, and when a set is ready, the caller says. If
it said so too early, searches would miss images that succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from indexer.key import SetKey
from indexer.neighbours import Neighbours
from indexer.set_state import SetState

if TYPE_CHECKING:
    import threading

    import numpy as np
    from numpy.typing import NDArray

    from indexer.generations import AskedGenerations


class SetNotReadyError(Exception):
    """A search needs a set that is not ready yet; it may be repeated later."""


class VectorStore(Protocol):
    """Sets of vectors of one model, by key. Thread-safe.

    A label is that of an image, which has one vector or several, its parts. Whatever is counted,
    hidden, found or returned is an image with all of its parts.

    A store that keeps no snapshots has nothing unsaved, nothing lost and no checkpoint: the next
    process compares every set with the rows.
    """

    # Vectors and searches.

    def add(self, key: SetKey, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add vectors (n, dimensions), float32 and of norm 1, and return how many labels were new.

        Each vector has its label, above 0 and below 2**60; the parts of an image follow one
        another, and come in one call. Labels that the set holds are skipped, deleted ones too, and
        so is everything for a generation that was dropped for ever. A missing set is created, ready
        if its generation is known. On return every new label can be found, once its set is ready.
        Raises ValueError, with nothing added, for invalid labels or vectors, and for more parts of
        an image than the store takes.
        """

    def mark_deleted(self, key: SetKey, labels: Sequence[int]) -> int:
        """Hide labels from later searches, and return how many of them the set does not hold.

        Those are not remembered: such a label is live if it is added later.
        """

    def revive(self, key: SetKey, labels: Sequence[int]) -> set[int]:
        """Make deleted labels of a set findable again with their vectors; return which ones.

        For an image whose category changed back: `add` skips deleted labels, since a late
        message must not bring an image back.
        """

    def search(self, keys: Sequence[SetKey], vectors: NDArray[np.float32], k: int) -> Neighbours:
        """Return the `k` labels in the sets that are nearest to any of the vectors (q, dimensions).

        One list of int64 labels and float32 cosines, greatest first; equal ones are ordered by
        label. Each label comes once, with the similarity of its best pair: of a part of it and one
        of the vectors. The list is shorter than `k` only if fewer labels are live, and empty if
        there are none. Raises
        ValueError for invalid vectors or a `k` below 1, and SetNotReadyError if one of the sets is
        not ready, or may exist unknown; its generation is then added to `asked`.
        """

    def live_labels(self, key: SetKey) -> set[int]:
        """Return the labels of a set that are not deleted; an empty set if there is none."""

    def held(self, key: SetKey, labels: Sequence[int]) -> set[int]:
        """Return the labels among `labels` that a set has, deleted or not."""

    def contains(self, key: SetKey, label: int) -> bool:
        """Return whether a search of the set can find the label; False if there is no such set."""

    def count(self, key: SetKey) -> int:
        """Return how many labels of the set are not deleted; 0 if there is no such set."""

    # Sets.

    def create(self, key: SetKey) -> None:
        """Create a set that is not ready, unless it exists or its generation was dropped."""

    def keys(self) -> list[SetKey]:
        """Return the keys of all sets, including those whose labels are all deleted."""

    @property
    def set_count(self) -> int:
        """How many sets there are, including those whose labels are all deleted."""

    def generations(self) -> set[str]:
        """Return the generations that have sets."""

    def keys_of(self, generation: str) -> list[SetKey]:
        """Return the keys of all sets of a generation, [] if it has none.

        Raises SetNotReadyError if not all are known yet; the generation is then added to `asked`.
        """

    def drop_generation(self, generation: str, *, for_ever: bool = True) -> int:
        """Remove all sets of a generation with their snapshots, and return how many there were.

        If `for_ever`, later additions to that generation are ignored.
        """

    def state(self) -> dict[SetKey, SetState]:
        """Return the state of every set, for monitoring."""

    # Which sets are known, and which are ready.

    @property
    def asked(self) -> AskedGenerations:
        """The generations that searches wait for, to be made ready first."""

    def expect(self, unknown: Iterable[str]) -> None:
        """Set the generations of which not all sets are known."""

    def learn(self, generation: str, keys: Iterable[SetKey]) -> None:
        """Make a generation known: it has the sets with these keys and those that exist.

        Missing sets are created, not ready. Do nothing if the generation is known already.
        """

    def is_known(self, generation: str) -> bool:
        """Return whether all sets of a generation are known."""

    def unknown(self) -> frozenset[str]:
        """Return the generations of `expect` that are still unknown; none before it was called."""

    @property
    def is_begun(self) -> bool:
        """Whether `expect` was called, or all sets were known from the start."""

    @property
    def is_complete(self) -> bool:
        """Whether all sets of all generations are known."""

    def now_ready(self, key: SetKey) -> None:
        """Make a set ready, so that it is searched; do nothing if it does not exist."""

    def is_ready(self, key: SetKey) -> bool:
        """Return whether the set exists and is ready."""

    def not_ready(self) -> list[SetKey]:
        """Return the keys of the known sets that are not ready."""

    def not_ready_of(self, generation: str) -> list[SetKey]:
        """Return the keys of the known sets of a generation that are not ready."""

    # Snapshots and checkpoints.

    def whole(self) -> list[SetKey]:
        """Return the keys of the sets that are not ready, but were when they were last saved.

        With a checkpoint, such a set lacks only what changed since then.
        """

    @property
    def lost_generations(self) -> frozenset[str]:
        """The generations of which the checkpoint names a set without a usable snapshot.

        They must be compared with the rows.
        """

    def unsaved(self) -> dict[SetKey, int]:
        """Return the count of changes of each set since its snapshot; sets without are left out."""

    def unsaved_seconds(self) -> float:
        """Return the age of the oldest change without a snapshot in seconds; 0 if there is none.

        It is infinite if a set became ready whose changes may be of any age.
        """

    def save(self, key: SetKey, seconds: float = ...) -> bool:
        """Save a set, within `seconds` for each shard; log and return False if that fails.

        The snapshot before then stays valid. Return True if there is no such set.
        """

    def not_saved(self) -> dict[SetKey, str]:
        """Return the reason for each set whose last save failed; the newest comes last."""

    def lost_within(self, seconds: float) -> int:
        """Return how many snapshots or shard files were found unusable in the last `seconds`."""

    @property
    def checkpoint(self) -> int | None:
        """The time until which snapshots have every change, by the caller's clock; None: unknown.

        In milliseconds.
        """

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether snapshots were saved since the last checkpoint."""

    def keep_checkpoint(self, until: int) -> None:
        """Write a checkpoint: all changes before `until`, by the caller's clock, are in snapshots.

        A fault of the disk is logged, and the checkpoint stays due.
        """

    def remove_checkpoint(self) -> None:
        """Remove the checkpoint, so that the next process compares all snapshots with the rows."""

    # Memory.

    @property
    def memory_bytes(self) -> int:
        """The approximate memory of all sets in bytes."""

    def compact(self, share: float, stopping: threading.Event) -> int:
        """Rebuild shards of which more than `share` of the images is deleted; return how many.

        Their deleted labels are held no longer. A set without a change since the last call may be
        left out, so `share` is the same at every call. Return early once `stopping` is set.
        """

    def unload_beyond(self, memory_bytes: int, idle_seconds: float) -> int:
        """Unload idle sets, the longest idle first, until about `memory_bytes` are used.

        The set that was used last always stays, and so does each that was used in the last
        `idle_seconds`. Sets are saved first if needed. Return how many were unloaded.
        """
