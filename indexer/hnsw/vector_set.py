"""One set of vectors: its shards, which are filled one after the other.

A set may be unloaded, with all of its data in a snapshot; its next use loads it. It is ready once
it has everything that the rows say; until then it can be changed, but not searched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from config.steady_clock import steady_seconds
from indexer.hnsw.compaction import Compaction
from indexer.hnsw.exact_shard import ExactShard
from indexer.hnsw.shard import AnyShard, Shard
from indexer.hnsw.snapshots.forked_save import SnapshotError
from indexer.set_state import SetState
from indexer.vector_store import SetNotReadyError
from indexer.vectors import positions_in, runs_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from indexer.hnsw.options import IndexOptions
    from indexer.hnsw.snapshots.directory import SetSnapshot, SnapshotDirectory
    from indexer.hnsw.snapshots.manifest import Manifest, ShardRecord
    from indexer.key import SetKey
    from indexer.neighbours import Neighbours

#: Vectors marked while the locks are held, for about a millisecond.
MARKS_PER_WRITE = 1_000


class VectorSet:
    """Shards that are searched together; changes of them run one at a time."""

    __slots__ = (
        "_changed_at",
        "_changing",
        "_dropped",
        "_manifest",
        "_options",
        "_ready",
        "_saved",
        "_saving",
        "_shards",
        "_snapshots",
        "key",
        "on_change",
        "save_again_at",
        "used_at",
    )

    def __init__(
        self,
        key: SetKey,
        options: IndexOptions,
        snapshots: SnapshotDirectory | None = None,
        manifest: Manifest | None = None,
        ready: bool = True,
    ) -> None:
        """Make a set, unloaded if it has a `manifest`; without `snapshots` it is never unloaded."""
        self.key = key
        self._options = options
        self._changing = threading.Lock()
        self._saving = threading.Lock()
        self._snapshots = snapshots
        self._manifest = manifest
        self._saved: dict[AnyShard, tuple[int, ShardRecord]] = {}
        # Replaced as a whole, so that a search sees one state; None if not loaded.
        self._shards: tuple[AnyShard, ...] | None = None if manifest else ()
        self._dropped = False
        self._ready = ready
        #: When the oldest change without a snapshot was made, by the steady clock.
        self._changed_at = 0.0
        self.on_change: Callable[[VectorSet], None] = lambda _: None
        self.used_at = self.save_again_at = time.monotonic()

    def add(self, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add checked vectors of images, and return how many images were new.

        A piece is about `vectors_per_write` vectors; all of an image are in one. Labels that the
        set holds are skipped. On return, a search finds every new label.
        """
        added = 0
        runs = list(runs_of(labels).items())
        for piece in _pieces(len(runs), max(1, self._options.vectors_per_write // self._parts)):
            with self._loaded():
                added += self._add_piece(dict(runs[piece]), vectors)
        return added

    @property
    def _parts(self) -> int:
        return self._options.parts

    def mark_deleted(self, labels: Sequence[int]) -> int:
        """Hide labels from later searches, and return how many of them the set does not hold."""
        distinct = list(dict.fromkeys(labels))
        unknown = 0
        for piece in _pieces(len(distinct), MARKS_PER_WRITE // self._parts):
            with self._loaded() as shards:
                self._note_change()
                left = distinct[piece]
                for shard in shards:
                    known = shard.held(left)
                    if known:
                        shard.mark_deleted(list(known))
                        left = [label for label in left if label not in known]
                unknown += len(left)
        return unknown

    def revive(self, labels: Sequence[int]) -> set[int]:
        """Make marked labels findable again with their vectors; return which ones were marked."""
        revived: set[int] = set()
        for piece in _pieces(len(labels), MARKS_PER_WRITE // self._parts):
            with self._loaded() as shards:
                self._note_change()
                for shard in shards:
                    revived |= shard.revive(labels[piece])
        return revived

    def search(
        self, vectors: NDArray[np.float32], k: int, patience: float = -1.0
    ) -> list[Neighbours]:
        """Return the answer of each shard, arrays of (q, up to k), see `Shard.search`.

        If the set is unloaded, the search loads it, or waits up to `patience` seconds for another
        thread that loads or changes it; without a limit if that is below 0. Raises
        SetNotReadyError if the set is not ready or that time is over.
        """
        self.used_at = time.monotonic()
        shards = self._shards
        if self.ready and shards is None:
            with self._loaded(patience) as loaded:
                shards = loaded
        # Checked again, since loading may have found the snapshot damaged.
        if not self.ready or shards is None:
            raise SetNotReadyError
        return [shard.search(vectors, k) for shard in shards]

    def contains(self, label: int) -> bool:
        """Return whether a search can find the label, once the set is ready."""
        with self._loaded() as shards:
            return any(shard.contains(label) for shard in shards)

    def live_labels(self) -> set[int]:
        """Return the labels that a search can find once the set is ready."""
        with self._loaded() as shards:
            return set[int]().union(*(shard.live_labels() for shard in shards))

    def held(self, labels: Sequence[int]) -> set[int]:
        """Return the labels among `labels` that were added, marked as deleted or not."""
        with self._loaded() as shards:
            return set[int]().union(*(shard.held(labels) for shard in shards))

    def state(self) -> SetState:
        """Return the size and the state of the set for monitoring, without loading it."""
        shards, manifest = self._shards, self._manifest
        age = None if manifest is None else max(0.0, time.time() - manifest.written_at)
        records = manifest.shards if manifest else ()
        if shards is None:
            live = sum(record.live for record in records)
            deleted = sum(len(record.deleted) for record in records)
        else:
            live = sum(shard.live_count for shard in shards)
            deleted = sum(shard.deleted_count for shard in shards)
        return SetState(
            live=live,
            deleted=deleted,
            shards=len(records if shards is None else shards),
            ready=self.ready,
            loaded=shards is not None,
            snapshot_seconds=age,
        )

    @property
    def ready(self) -> bool:
        """Whether the set has everything that the rows say, so that it may be searched."""
        return self._ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        was_filled = ready and not self._ready
        self._ready = ready
        if was_filled and self.unsaved_changes:
            # The changes that filled it may be of any age.
            self._changed_at = float("-inf")
        self.on_change(self)

    @property
    def _snapshot(self) -> SetSnapshot | None:
        # Made when needed: keeping it would take more memory than the set itself.
        return None if self._snapshots is None else self._snapshots.of(self.key)

    @property
    def saved_as(self) -> str | None:
        """The folder name of the snapshot of this set, None if it has none."""
        snapshots = self._snapshots if self._manifest else None
        return None if snapshots is None else snapshots.name_of(self.key)

    @property
    def has_whole_snapshot(self) -> bool:
        """Whether the set has a snapshot that was saved while it was ready."""
        return self._manifest is not None and self._manifest.is_whole

    @property
    def unsaved_seconds(self) -> float:
        """The seconds since the oldest unsaved change; 0 if there is none, infinite if unknown."""
        return max(0.0, steady_seconds() - self._changed_at) if self.unsaved_changes else 0.0

    @property
    def is_loaded(self) -> bool:
        """Whether the set is in memory."""
        return self._shards is not None

    @property
    def has_marked(self) -> bool:
        """Whether a shard in memory has marked labels."""
        return any(shard.deleted_count for shard in self._shards or ())

    @property
    def memory_bytes(self) -> int:
        """The approximate memory of the set in bytes, 0 if it is unloaded."""
        return sum(shard.memory_bytes for shard in self._shards or ())

    @property
    def unsaved_changes(self) -> int:
        """How many labels were added or marked, or shards rebuilt, since the last snapshot."""
        shards = self._shards
        if shards is None or self._snapshots is None:
            return 0
        saved = self._saved
        manifest = self._manifest
        lost = (len(manifest.shards) if manifest else 0) - len(saved)
        became_whole = self._ready and manifest is not None and not manifest.is_whole
        return (
            lost
            + became_whole
            + sum(shard.changes - (saved[shard][0] if shard in saved else -1) for shard in shards)
        )

    def save(self, seconds: float) -> None:
        """Save the shards that changed since the last snapshot, within `seconds` for each.

        Raises SnapshotError if the previous snapshot stays, OSError if the new one may be lost.
        """
        with self._saving:
            if self._snapshot is None or self._dropped or not self.unsaved_changes:
                return
            shards = self._shards or ()
            began, is_whole = steady_seconds(), self._ready
            if not shards:
                self._snapshot.remove()
                self._saved, self._manifest = {}, None
                return
            saved: dict[AnyShard, tuple[int, ShardRecord]] = {}
            try:
                for shard in shards:
                    known = self._saved.get(shard)
                    if known is None or known[0] != shard.changes:
                        known = self._snapshot.save_shard(shard, seconds)
                    saved[shard] = known
                records = [record for _, record in saved.values()]
                manifest = self._snapshot.commit(records, is_whole)
            except SnapshotError:
                old = self._saved.values()
                self._snapshot.discard(new[1] for new in saved.values() if new not in old)
                raise
            self._saved, self._manifest = saved, manifest
            self._changed_at = began

    def unload(self) -> bool:
        """Unload the set; return False if it has unsaved changes, or is not ready."""
        with self._saving, self._changing:
            if self._manifest is None or not self.ready or self.unsaved_changes:
                return False
            self._shards = None
            self._saved = {}
        self.on_change(self)
        return True

    def drop(self) -> None:
        """Empty the set, ignore later additions, and remove its snapshot."""
        self._dropped = True
        with self._changing:
            self._shards = ()
        with self._saving:
            self._saved = {}
            self._manifest = None
            if self._snapshot is not None:
                self._snapshot.remove()

    def compact(self, share: float, stopping: threading.Event) -> int:
        """Rebuild the shards of which more than `share` is marked, and return how many.

        The set can be changed and searched meanwhile. A shard without live labels is removed.
        """
        done = 0
        for shard in self._shards or ():
            if shard.deleted_count <= share * (shard.deleted_count + shard.live_count):
                continue
            compaction = Compaction(shard, self._options)
            if not compaction.copy(stopping):
                break
            with self._changing:
                self._note_change()
                compaction.finish()
                self._replace(shard, compaction.new if compaction.new.live_count else None)
            self.on_change(self)
            done += 1
        return done

    def _note_change(self) -> None:
        """Note the time before a change, unless there are unsaved changes already."""
        if not self.unsaved_changes:
            self._changed_at = steady_seconds()

    @contextmanager
    def _loaded(self, patience: float = -1.0) -> Iterator[tuple[AnyShard, ...]]:
        """Load the set, hold the lock of its changes, and yield its shards; see `search`."""
        if not self._changing.acquire(timeout=patience):
            raise SetNotReadyError
        try:
            self.used_at = time.monotonic()
            if self._shards is None:
                self._shards = self._load()
            yield self._shards
        finally:
            self._changing.release()
            self.on_change(self)

    def _load(self) -> tuple[AnyShard, ...]:
        if self._snapshot is None or self._manifest is None:
            raise RuntimeError("a set without a snapshot is out of memory")
        loaded = self._snapshot.load(self._manifest)
        if len(loaded) < len(self._manifest.shards):
            self._ready = False
        self._saved = {shard: (0, record) for shard, record in loaded}
        return tuple(shard for shard, _ in loaded)

    def _add_piece(self, runs: dict[int, slice], vectors: NDArray[np.float32]) -> int:
        if self._dropped:
            return 0
        self._note_change()
        shards = self._shards or ()
        known = set[int]().union(*(shard.held(runs) for shard in shards))
        new = {label: run for label, run in runs.items() if label not in known}
        added = 0
        while new:
            # All vectors of an image are in one shard, so that a shard knows all of an image.
            shard = next((shard for shard in shards if shard.room >= self._parts), None)
            if shard is None:
                shard = ExactShard(self._options)
                self._shards = (*shards, shard)
            fitting = list(new)[: shard.room // self._parts]
            positions = positions_in(new[label] for label in fitting)
            labels = [label for label in fitting for _ in range(new[label].start, new[label].stop)]
            shard = self._with_graph_for(len(positions), shard)
            shards = self._shards or ()
            added += shard.add(labels, vectors[positions])
            for label in fitting:
                del new[label]
        return added

    def _with_graph_for(self, additions: int, shard: AnyShard) -> AnyShard:
        """Return the shard to add to: one with a graph if an exact one would become too large.

        Searches use the old shard while the graph is built; changes of the set wait.
        """
        if not isinstance(shard, ExactShard):
            return shard
        rows = shard.rows
        if rows.total + additions <= self._options.exact_up_to:
            return shard
        graph = Shard.of_rows(self._options, rows)
        self._replace(shard, graph)
        return graph

    def _replace(self, old: AnyShard, new: AnyShard | None) -> None:
        """Replace a shard by another, or remove it; do nothing if the set does not have it."""
        self._shards = tuple(
            one
            for shard in self._shards or ()
            for one in ((new,) if shard is old else (shard,))
            if one is not None
        )
        # Else the dict would keep the old shard in memory.
        self._saved = {one: known for one, known in self._saved.items() if one is not old}


def _pieces(total: int, length: int) -> Iterator[slice]:
    return (slice(start, start + length) for start in range(0, total, length))
