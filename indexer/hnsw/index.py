"""The index: sets of vectors by key, and one search over any of them.

Knows nothing of what a vector was made from, nor of where the rows are kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from indexer.hnsw.generations import AskedGenerations, KnownGenerations
from indexer.hnsw.set_table import SetTable
from indexer.hnsw.snapshots.faults import SnapshotFaults
from indexer.hnsw.snapshots.forked_save import SnapshotError
from indexer.hnsw.vector_set import SetNotReadyError, VectorSet
from indexer.hnsw.vectors import check_additions, check_query
from indexer.key import SetKey
from indexer.neighbours import Neighbours, merge
from indexer.set_state import SetState, SetStatistics

if TYPE_CHECKING:
    import threading

    import numpy as np
    from numpy.typing import NDArray

    from indexer.hnsw.options import IndexOptions
    from indexer.hnsw.snapshots.directory import SnapshotDirectory
    from indexer.hnsw.snapshots.manifest import Manifest

LOAD_PATIENCE = 1.5
"""Seconds that a search waits for another thread that loads the set which it needs."""

SAVE_SECONDS = 120.0
"""How long a child may take to save one shard."""

SAVE_PAUSE = 60.0
"""A set that could not be saved is not tried again for so long to be unloaded."""

logger = logging.getLogger(__name__)


class VectorIndex:
    """Sets of vectors, safe for use by several threads.

    Work in one set never waits for another: the lock of the table of sets is held
    for a look or a change of it alone. The sets of a directory of
    snapshots are there from the start, out of memory and not ready: whoever knows what
    they should hold says when they do.
    """

    def __init__(
        self,
        options: IndexOptions,
        snapshots: SnapshotDirectory | None = None,
        is_complete: bool = True,
    ) -> None:
        """Without `is_complete`, there may be sets that only `expect` and `learn` will name."""
        self._options = options
        self._snapshots = snapshots
        self._faults = snapshots.faults if snapshots else SnapshotFaults()
        self._sets = SetTable()
        self._known = KnownGenerations(all_known=is_complete)
        #: What searches wait for.
        self.asked = AskedGenerations()
        for manifest in snapshots.find() if snapshots else ():
            self._open(manifest.key, ready=False, manifest=manifest)
        kept = snapshots.checkpoint() if snapshots else None
        #: Up to when the snapshots hold every change, as the caller said; None: not known.
        self.checkpoint = kept.until if kept else None
        #: Whether a checkpoint would say more than the last one.
        self.is_checkpoint_due = kept is None
        self.lost_generations = self._lost(kept.folders if kept else ())

    def add(self, key: SetKey, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add vectors (n, dimensions), float32 and of norm 1; give how many were new.

        Labels are above 0 and below 2**63. One that the set knows is skipped, a
        deleted one too, and so is all of a generation that was dropped. On return every
        new label can be found, once its set is ready. Raises ValueError, with nothing
        added, for bad labels or vectors.
        """
        check_additions(labels, vectors, self._options.dimensions)
        if len(labels) == 0:
            return 0
        vector_set = self._open(key, ready=self.is_known(key.generation))
        return 0 if vector_set is None else vector_set.add(labels, vectors)

    def mark_deleted(self, key: SetKey, labels: Sequence[int]) -> int:
        """Hide labels from every later search; give how many of them were never seen.

        Those are not remembered: one that is added later is live.
        """
        vector_set = self._sets.use(key)
        return len(set(labels)) if vector_set is None else vector_set.mark_deleted(labels)

    def revive(self, key: SetKey, labels: Sequence[int]) -> set[int]:
        """Make deleted labels of a set findable again, as they were; give which they were.

        For a label that comes back to its set: `add` takes no deleted one, since a late
        message must not bring an image back.
        """
        vector_set = self._sets.use(key)
        return set() if vector_set is None else vector_set.revive(labels)

    def search(self, keys: Sequence[SetKey], vectors: NDArray[np.float32], k: int) -> Neighbours:
        """Return the `k` nearest labels to any of the vectors (q, dimensions) in the sets.

        One list of int64 labels and float32 cosines, falling: each label once,
        with its similarity to the vector that it is nearest to. Shorter than
        `k` only where less is live; empty where there is nothing. Raises
        ValueError for bad vectors or a k under 1, SetNotReadyError where one of the
        sets does not yet hold all that it should; its generation is `asked` for then.
        """
        check_query(vectors, k, self._options.dimensions)
        answers: list[Neighbours] = []
        for key in dict.fromkeys(keys):
            # In this order: `learn` opens the sets that are missing before it says so.
            known = self.is_known(key.generation)
            vector_set = self._sets.use(key)
            if vector_set is None and not known:
                self.asked.note(key.generation)
                raise SetNotReadyError(f"{key} may hold vectors that are not known yet")
            if vector_set is None:
                continue
            try:
                answers.extend(vector_set.search(vectors, k, LOAD_PATIENCE))
            except SetNotReadyError as error:
                if not vector_set.ready:
                    self.asked.note(key.generation)
                raise SetNotReadyError(f"{key} is being loaded or built") from error
        return merge(answers, k)

    def keys_of(self, generation: str) -> list[SetKey]:
        """Return the keys of all sets of a generation.

        Raises SetNotReadyError if not all are known yet; the generation is `asked` for then.
        """
        if not self.is_known(generation):
            self.asked.note(generation)
            raise SetNotReadyError(f"the sets of {generation} are not all known yet")
        return self._sets.of_generation(generation)

    def generations(self) -> set[str]:
        """Return the generations that have sets."""
        return self._sets.generations()

    def open(self, key: SetKey) -> None:
        """Make a set that is to be filled, and is not ready, where it is not there."""
        self._open(key, ready=False)

    def expect(self, unknown: Iterable[str]) -> None:
        """Take note that all sets are there but for these generations."""
        self._known.expect(unknown)

    def learn(self, generation: str, keys: Iterable[SetKey]) -> None:
        """Take note that a generation has no set but those of these keys and those there.

        A set that was not there must be filled, and is not ready. Of a generation that was
        known before, nothing is learned.
        """
        if not self.is_known(generation):
            for key in keys:
                self._open(key, ready=False)
            self._known.learn(generation)

    def is_known(self, generation: str) -> bool:
        """Return whether all sets of a generation are known."""
        return generation in self._known

    @property
    def is_begun(self) -> bool:
        """Whether it was ever said which generations are unknown."""
        return self._known.unknown is not None

    def unknown(self) -> frozenset[str]:
        """Return the generations that were said to be unknown and are so still."""
        return self._known.unknown or frozenset()

    @property
    def is_complete(self) -> bool:
        """Whether all sets are known."""
        return self.is_begun and not self.unknown()

    def not_ready(self) -> list[SetKey]:
        """Return the sets that do not hold all that they should, as far as is known."""
        return self._sets.not_ready()

    def not_ready_of(self, generation: str) -> list[SetKey]:
        """Return the same of one generation."""
        return self._sets.not_ready_of(generation)

    def is_ready(self, key: SetKey) -> bool:
        """Return whether there is a set of that key which holds all that it should."""
        vector_set = self._sets.find(key)
        return vector_set is not None and vector_set.ready

    def whole(self) -> list[SetKey]:
        """Return the sets that are not ready, but held all that they should when saved."""
        found = ((key, self._sets.find(key)) for key in self._sets.not_ready())
        return [key for key, one in found if one is not None and one.has_whole_snapshot]

    def now_ready(self, key: SetKey) -> None:
        """Take note that a set holds all that it should; from here on it is searched."""
        vector_set = self._sets.find(key)
        if vector_set is not None:
            vector_set.ready = True

    def live_labels(self, key: SetKey) -> set[int]:
        """Return the labels of a set that are not deleted; loads it."""
        vector_set = self._sets.use(key)
        return set() if vector_set is None else vector_set.live_labels()

    def known(self, key: SetKey, labels: Sequence[int]) -> set[int]:
        """Return those among `labels` that the set has, deleted or not; loads it."""
        vector_set = self._sets.use(key)
        return set() if vector_set is None else vector_set.known(labels)

    def drop_generation(self, generation: str, *, for_ever: bool = True) -> int:
        """Forget all sets of a generation, with their snapshots; give how many there were.

        What is added to that generation later is not kept, if it is gone `for_ever`.
        """
        dropped = self._sets.drop(generation, for_ever=for_ever)
        self.asked.forget(generation)
        for vector_set in dropped.values():
            vector_set.drop()
        return len(dropped)

    def count(self, key: SetKey) -> int:
        """Return how many labels of the set are not deleted; 0 for an unknown set."""
        vector_set = self._sets.find(key)
        return 0 if vector_set is None else vector_set.statistics().live

    def keys(self) -> list[SetKey]:
        """Return the keys of all sets, those whose labels are all deleted too."""
        return list(self._sets.all())

    @property
    def set_count(self) -> int:
        """How many sets there are, those whose labels are all deleted too."""
        return len(self._sets)

    def contains(self, key: SetKey, label: int) -> bool:
        """Return whether a search of the set can find the label."""
        vector_set = self._sets.use(key)
        return vector_set is not None and vector_set.contains(label)

    def statistics(self) -> dict[SetKey, SetStatistics]:
        """Return the size of every set."""
        return {key: vector_set.statistics() for key, vector_set in self._sets.all().items()}

    def state(self) -> dict[SetKey, SetState]:
        """Return what there is to know of every set, for monitoring."""
        return {key: vector_set.state() for key, vector_set in self._sets.all().items()}

    def unsaved(self) -> dict[SetKey, int]:
        """Return the sets that changed since their snapshot, and how many labels did."""
        return self._sets.unsaved()

    def unsaved_seconds(self) -> float:
        """Return the age of the oldest change that no snapshot has; 0 where there is none.

        Infinite where a set was filled that had no whole snapshot before.
        """
        found = (self._sets.find(key) for key in self._sets.unsaved())
        return max((one.unsaved_seconds for one in found if one is not None), default=0.0)

    def keep_checkpoint(self, until: int) -> None:
        """Write down that what changed before `until`, by the caller's clock, is in snapshots."""
        if self._snapshots is not None:
            names = (one.saved_as for one in self._sets.all().values())
            if self._snapshots.keep_checkpoint(until, [name for name in names if name]):
                self.checkpoint, self.is_checkpoint_due = until, False

    def remove_checkpoint(self) -> None:
        """Have the next process trust no snapshot until it was compared."""
        self.checkpoint, self.is_checkpoint_due = None, True
        if self._snapshots is not None:
            self._snapshots.remove_checkpoint()

    def save(self, key: SetKey, seconds: float = SAVE_SECONDS) -> bool:
        """Bring the snapshot of a set up to this moment; False, and a line in the log, if not."""
        vector_set = self._sets.find(key)
        started = time.monotonic()
        try:
            if vector_set is not None:
                vector_set.save(seconds)
        except (OSError, SnapshotError) as error:
            logger.error("no snapshot of %s, the one before stays: %s", key, error)
            self._faults.not_saved(key, str(error))
            if vector_set is not None:
                vector_set.save_again_at = time.monotonic() + SAVE_PAUSE
            return False
        self._faults.saved(key)
        self.is_checkpoint_due = True
        logger.info("snapshot of %s in %.1f s", key, time.monotonic() - started)
        return True

    def lost_within(self, seconds: float) -> int:
        """Return how many snapshots of sets or shards could not be used, lately."""
        return self._faults.lost_within(seconds)

    def not_saved(self) -> dict[SetKey, str]:
        """Return the sets whose last save failed, each with the reason; the newest is the last."""
        reasons = self._faults.reasons()
        return {key: reason for key, reason in reasons.items() if key in self._sets}

    def compact(self, share: float, stopping: threading.Event) -> int:
        """Build shards anew of which more than `share` is deleted; return how many.

        Looks at those sets alone that had labels marked, or were loaded, since the last look.
        """
        done = 0
        for key, vector_set, told in self._sets.marked():
            started = time.monotonic()
            count = vector_set.compact(share, stopping)
            if count:
                seconds = time.monotonic() - started
                logger.info("%d shards of %s built anew in %.1f s", count, key, seconds)
            done += count
            if not stopping.is_set():
                self._sets.settle_marked(key, told)
        return done

    @property
    def memory_bytes(self) -> int:
        """About how much memory all sets take at this moment."""
        return self._sets.memory_bytes

    def unload_beyond(self, memory_bytes: int, idle_seconds: float) -> int:
        """Take idle sets out of memory, the longest idle first, down to about so many bytes.

        Never the one that was used last. Gives how many were unloaded.
        """
        done = 0
        if self._snapshots is None or self.memory_bytes <= memory_bytes:
            return 0
        for key in self._sets.loaded()[:-1]:
            if self.memory_bytes <= memory_bytes:
                break
            vector_set, now = self._sets.find(key), time.monotonic()
            if vector_set is None or not vector_set.ready:
                continue
            if now - vector_set.used_at < idle_seconds or now < vector_set.save_again_at:
                continue
            if (not vector_set.unsaved_changes or self.save(key)) and vector_set.unload():
                logger.info("%s is idle: out of memory", key)
                done += 1
        return done

    def _lost(self, folders: Iterable[str]) -> frozenset[str]:
        """Return the generations that miss one of these folders."""
        if self._snapshots is None:
            return frozenset()
        there = {self._snapshots.name_of(key) for key in self._sets.all()}
        missing = set(folders) - there
        return frozenset(self._snapshots.generation_of(folder) for folder in missing)

    def _open(self, key: SetKey, ready: bool, manifest: Manifest | None = None) -> VectorSet | None:
        """Return a set, made where it is not there; None in a generation that was dropped."""

        def make() -> VectorSet:
            return VectorSet(key, self._options, self._snapshots, manifest, ready=ready)

        return self._sets.use_or_open(key, make)
