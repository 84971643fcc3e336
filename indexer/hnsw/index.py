"""The index of one model: sets of vectors by key, and a search over any of them.

`workers.index_process` fills it from the rows and asks it, and the thread of `indexer.keeper`
saves, compacts and unloads its sets. Both know it as an `indexer.vector_store.VectorStore`, which
says what each method returns and raises; the docstrings here add what this engine does for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from indexer.generations import AskedGenerations, KnownGenerations
from indexer.hnsw.set_table import SetTable
from indexer.hnsw.snapshots.faults import SnapshotFaults
from indexer.hnsw.snapshots.forked_save import SnapshotError
from indexer.hnsw.vector_set import VectorSet
from indexer.key import SetKey
from indexer.neighbours import Neighbours, merge
from indexer.set_state import SetState
from indexer.vector_store import SetNotReadyError
from indexer.vectors import check_additions, check_query

if TYPE_CHECKING:
    import threading

    import numpy as np
    from numpy.typing import NDArray

    from indexer.hnsw.options import IndexOptions
    from indexer.hnsw.snapshots.directory import SnapshotDirectory
    from indexer.hnsw.snapshots.manifest import Manifest

#: Seconds that a search waits for another thread that loads or changes its set; then it is refused
#: with SetNotReadyError, and the client is told to try again (10020).
LOAD_PATIENCE = 1.5

#: Seconds that a child process may take to save one shard.
SAVE_SECONDS = 120.0

#: Seconds after a failed save before the set is saved again in order to unload it. The tries of the
#: keeper have a pause of their own.
SAVE_PAUSE = 60.0

logger = logging.getLogger(__name__)


class VectorIndex:
    """Sets of vectors. Thread-safe.

    Work on one set never waits for another: the lock of the table of sets is only held to read
    or change the table. The sets in a directory of snapshots exist from the start, not loaded and
    not ready; the caller compares them with the rows, and then calls `now_ready`.
    """

    def __init__(
        self,
        options: IndexOptions,
        snapshots: SnapshotDirectory | None = None,
        is_complete: bool = True,
    ) -> None:
        """Take `is_complete`: False if there may be sets that `expect` and `learn` will name.

        Without `snapshots`, nothing is saved or unloaded. Reads the manifests of all snapshots, not
        the shards.
        """
        self._options = options
        self._snapshots = snapshots
        self._faults = snapshots.faults if snapshots else SnapshotFaults()
        self._sets = SetTable()
        self._known = KnownGenerations(all_known=is_complete)
        #: The generations that searches wait for, to be made ready first.
        self.asked = AskedGenerations()
        for manifest in snapshots.find() if snapshots else ():
            self._open(manifest.key, ready=False, manifest=manifest)
        kept = snapshots.checkpoint() if snapshots else None
        #: The time until which snapshots have every change, by the caller's clock; None: unknown.
        self.checkpoint = kept.until if kept else None
        #: Whether snapshots were saved since the last checkpoint.
        self.is_checkpoint_due = kept is None
        #: Generations of which the checkpoint names a folder without a usable snapshot: they must
        #: be compared with the rows.
        self.lost_generations = self._lost(kept.folders if kept else ())

    def add(self, key: SetKey, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add the vectors (n, dimensions) of images that the set does not hold; return how many.

        Loads the set. Raises ValueError.
        """
        check_additions(labels, vectors, self._options.dimensions, self._options.parts)
        if len(labels) == 0:
            return 0
        vector_set = self._open(key, ready=self.is_known(key.generation))
        return 0 if vector_set is None else vector_set.add(labels, vectors)

    def mark_deleted(self, key: SetKey, labels: Sequence[int]) -> int:
        """Load a set, hide labels of it, and return how many of them it does not hold."""
        vector_set = self._sets.use(key)
        return len(set(labels)) if vector_set is None else vector_set.mark_deleted(labels)

    def revive(self, key: SetKey, labels: Sequence[int]) -> set[int]:
        """Load a set, make deleted labels of it findable again, and return which ones."""
        vector_set = self._sets.use(key)
        return set() if vector_set is None else vector_set.revive(labels)

    def search(self, keys: Sequence[SetKey], vectors: NDArray[np.float32], k: int) -> Neighbours:
        """Return the `k` labels in the sets that are nearest to any of the vectors (q, dimensions).

        Loads the sets. Raises ValueError, and SetNotReadyError also if another thread loads or
        changes an unloaded set for more than LOAD_PATIENCE seconds.
        """
        check_query(vectors, k, self._options.dimensions)
        answers: list[Neighbours] = []
        for key in dict.fromkeys(keys):
            # In this order: `learn` creates missing sets before it makes the generation known.
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
        """Return the keys of all sets of a generation, [] if it has none.

        Raises SetNotReadyError if not all are known yet; the generation is then added to `asked`.
        """
        if not self.is_known(generation):
            self.asked.note(generation)
            raise SetNotReadyError(f"the sets of {generation} are not all known yet")
        return self._sets.of_generation(generation)

    def generations(self) -> set[str]:
        """Return the generations that have sets."""
        return self._sets.generations()

    def create(self, key: SetKey) -> None:
        """Create a set that is not ready, unless it exists or its generation was dropped."""
        self._open(key, ready=False)

    def expect(self, unknown: Iterable[str]) -> None:
        """Set the generations of which not all sets are known."""
        self._known.expect(unknown)

    def learn(self, generation: str, keys: Iterable[SetKey]) -> None:
        """Make a generation known: it has the sets with these keys and those that exist.

        Missing sets are created, not ready. Do nothing if the generation is known already.
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
        """Whether `expect` was called, or all sets were known from the start."""
        return self._known.unknown is not None

    def unknown(self) -> frozenset[str]:
        """Return the generations of `expect` that are still unknown; none before it was called."""
        return self._known.unknown or frozenset()

    @property
    def is_complete(self) -> bool:
        """Whether all sets of all generations are known."""
        return self.is_begun and not self.unknown()

    def not_ready(self) -> list[SetKey]:
        """Return the keys of the known sets that are not ready."""
        return self._sets.not_ready()

    def not_ready_of(self, generation: str) -> list[SetKey]:
        """Return the keys of the known sets of a generation that are not ready."""
        return self._sets.not_ready_of(generation)

    def is_ready(self, key: SetKey) -> bool:
        """Return whether the set exists and is ready."""
        vector_set = self._sets.find(key)
        return vector_set is not None and vector_set.ready

    def whole(self) -> list[SetKey]:
        """Return the keys of the sets that are not ready, but were when they were last saved.

        With a checkpoint, such a set lacks only what changed since then.
        """
        found = ((key, self._sets.find(key)) for key in self._sets.not_ready())
        return [key for key, one in found if one is not None and one.has_whole_snapshot]

    def now_ready(self, key: SetKey) -> None:
        """Make a set ready, so that it is searched; do nothing if it does not exist."""
        vector_set = self._sets.find(key)
        if vector_set is not None:
            vector_set.ready = True

    def live_labels(self, key: SetKey) -> set[int]:
        """Load a set, and return its labels that are not deleted; an empty set if there is none."""
        vector_set = self._sets.use(key)
        return set() if vector_set is None else vector_set.live_labels()

    def held(self, key: SetKey, labels: Sequence[int]) -> set[int]:
        """Load a set, and return the labels among `labels` that it has, deleted or not."""
        vector_set = self._sets.use(key)
        return set() if vector_set is None else vector_set.held(labels)

    def drop_generation(self, generation: str, *, for_ever: bool = True) -> int:
        """Remove all sets of a generation with their snapshots, and return how many there were.

        If `for_ever`, later additions to that generation are ignored.
        """
        dropped = self._sets.drop(generation, for_ever=for_ever)
        self.asked.forget(generation)
        for vector_set in dropped.values():
            vector_set.drop()
        return len(dropped)

    def count(self, key: SetKey) -> int:
        """Return how many labels of the set are not deleted; 0 if there is no such set."""
        vector_set = self._sets.find(key)
        return 0 if vector_set is None else vector_set.state().live

    def keys(self) -> list[SetKey]:
        """Return the keys of all sets, including those whose labels are all deleted."""
        return list(self._sets.all())

    @property
    def set_count(self) -> int:
        """How many sets there are, including those whose labels are all deleted."""
        return len(self._sets)

    def contains(self, key: SetKey, label: int) -> bool:
        """Return whether a search of the set can find the label; False if there is no such set."""
        vector_set = self._sets.use(key)
        return vector_set is not None and vector_set.contains(label)

    def state(self) -> dict[SetKey, SetState]:
        """Return the state of every set, for monitoring."""
        return {key: vector_set.state() for key, vector_set in self._sets.all().items()}

    def unsaved(self) -> dict[SetKey, int]:
        """Return the count of changes of each set since its snapshot; sets without are left out."""
        return self._sets.unsaved()

    def unsaved_seconds(self) -> float:
        """Return the age of the oldest change without a snapshot in seconds; 0 if there is none.

        It is infinite if a set became ready whose changes may be of any age.
        """
        found = (self._sets.find(key) for key in self._sets.unsaved())
        return max((one.unsaved_seconds for one in found if one is not None), default=0.0)

    def keep_checkpoint(self, until: int) -> None:
        """Write a checkpoint: all changes before `until`, by the caller's clock, are in snapshots.

        A fault of the disk is logged, and the checkpoint stays due.
        """
        if self._snapshots is not None:
            names = (one.saved_as for one in self._sets.all().values())
            if self._snapshots.keep_checkpoint(until, [name for name in names if name]):
                self.checkpoint, self.is_checkpoint_due = until, False

    def remove_checkpoint(self) -> None:
        """Remove the checkpoint, so that the next process compares all snapshots with the rows."""
        self.checkpoint, self.is_checkpoint_due = None, True
        if self._snapshots is not None:
            self._snapshots.remove_checkpoint()

    def save(self, key: SetKey, seconds: float = SAVE_SECONDS) -> bool:
        """Save a set, within `seconds` for each shard; log and return False if that fails.

        The snapshot before then stays valid. Return True if there is no such set.
        """
        vector_set = self._sets.find(key)
        if vector_set is None:
            self._faults.saved(key)
            return True
        started = time.monotonic()
        try:
            vector_set.save(seconds)
        except (OSError, SnapshotError) as error:
            logger.error("no snapshot of %s, the one before stays: %s", key, error)
            self._faults.not_saved(key, str(error))
            vector_set.save_again_at = time.monotonic() + SAVE_PAUSE
            return False
        self._faults.saved(key)
        self.is_checkpoint_due = True
        logger.info("snapshot of %s in %.1f s", key, time.monotonic() - started)
        return True

    def lost_within(self, seconds: float) -> int:
        """Return how many snapshots or shard files were found unusable in the last `seconds`."""
        return self._faults.lost_within(seconds)

    def not_saved(self) -> dict[SetKey, str]:
        """Return the reason for each set whose last save failed; the newest comes last."""
        reasons = self._faults.reasons()
        return {key: reason for key, reason in reasons.items() if key in self._sets}

    def compact(self, share: float, stopping: threading.Event) -> int:
        """Rebuild shards of which more than `share` is deleted, and return how many.

        Only sets that had labels marked, or were loaded, since the last call are examined.
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
        """The approximate memory of all sets in bytes."""
        return self._sets.memory_bytes

    def unload_beyond(self, memory_bytes: int, idle_seconds: float) -> int:
        """Unload idle sets, the longest idle first, until about `memory_bytes` are used.

        The set that was used last always stays. Sets are saved first if needed. Return how many
        were unloaded.
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
        """Return the generations of those folders that have no set."""
        if self._snapshots is None:
            return frozenset()
        there = {self._snapshots.name_of(key) for key in self._sets.all()}
        missing = set(folders) - there
        return frozenset(self._snapshots.generation_of(folder) for folder in missing)

    def _open(self, key: SetKey, ready: bool, manifest: Manifest | None = None) -> VectorSet | None:
        """Return the set, created if it is missing; None if its generation was dropped."""

        def make() -> VectorSet:
            return VectorSet(key, self._options, self._snapshots, manifest, ready=ready)

        return self._sets.use_or_open(key, make)
