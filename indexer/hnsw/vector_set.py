"""One set of vectors: its shards, filled one after the other. Knows nothing of other sets.

A set may be out of memory, with all that it holds in a snapshot; its next use loads it. It is
ready once it is known to hold all that it should; until then it is changed, but not searched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from indexer.hnsw.compaction import Compaction
from indexer.hnsw.exact_shard import ExactShard
from indexer.hnsw.shard import AnyShard, Shard
from indexer.hnsw.snapshots.forked_save import SnapshotError
from indexer.set_state import SetState, SetStatistics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from indexer.hnsw.options import IndexOptions
    from indexer.hnsw.snapshots.directory import SetSnapshot, SnapshotDirectory
    from indexer.hnsw.snapshots.manifest import Manifest, ShardRecord
    from indexer.key import SetKey
    from indexer.neighbours import Neighbours

MARKS_PER_WRITE = 1_000
"""Labels marked under one hold of the locks: about a millisecond."""

#: The steady clock that goes on while the machine sleeps, where the system has one.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SetNotReadyError(Exception):
    """A search needs a set that is not ready yet; a later one will find it so."""


class VectorSet:
    """Shards that are searched together; what changes them goes one at a time."""

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
        """With a `manifest` it is out of memory at first; without `snapshots` it stays in."""
        self.key = key
        self._options = options
        self._changing = threading.Lock()
        self._saving = threading.Lock()
        self._snapshots = snapshots
        self._manifest = manifest
        self._saved: dict[AnyShard, tuple[int, ShardRecord]] = {}
        # Replaced as a whole, so that a search that holds it sees one state; None: not loaded.
        self._shards: tuple[AnyShard, ...] | None = None if manifest else ()
        self._dropped = False
        self._ready = ready
        #: When the oldest change came that no snapshot has, by the steady clock.
        self._changed_at = 0.0
        self.on_change: Callable[[VectorSet], None] = lambda _: None
        self.used_at = self.save_again_at = time.monotonic()

    def add(self, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add checked vectors in pieces of `vectors_per_write`; give how many were new.

        When it returns, a search finds every label that was not marked as deleted.
        """
        added = 0
        for piece in _pieces(len(labels), self._options.vectors_per_write):
            with self._loaded():
                added += self._add_piece(labels[piece], vectors[piece])
        return added

    def mark_deleted(self, labels: Sequence[int]) -> int:
        """Hide labels from every later search; give how many of them the set never saw."""
        distinct = list(dict.fromkeys(labels))
        unknown = 0
        for piece in _pieces(len(distinct), MARKS_PER_WRITE):
            with self._loaded() as shards:
                self._note_change()
                left = distinct[piece]
                for shard in shards:
                    known = shard.known(left)
                    if known:
                        shard.mark_deleted(list(known))
                        left = [label for label in left if label not in known]
                unknown += len(left)
        return unknown

    def revive(self, labels: Sequence[int]) -> set[int]:
        """Make those among `labels` findable again that were marked; give which they were."""
        revived: set[int] = set()
        for piece in _pieces(len(labels), MARKS_PER_WRITE):
            with self._loaded() as shards:
                self._note_change()
                for shard in shards:
                    revived |= shard.revive(labels[piece])
        return revived

    def search(
        self, vectors: NDArray[np.float32], k: int, patience: float = -1.0
    ) -> list[Neighbours]:
        """Return each shard's answer, arrays of (q, up to k), see `Shard.search`.

        Where the set is out of memory the search loads it, or waits up to `patience`
        seconds for another thread that changes or loads it; for ever below 0. Raises
        SetNotReadyError.
        """
        self.used_at = time.monotonic()
        shards = self._shards
        if self.ready and shards is None:
            with self._loaded(patience) as loaded:
                shards = loaded
        # Asked again, since loading may have found the snapshot damaged.
        if not self.ready or shards is None:
            raise SetNotReadyError
        return [shard.search(vectors, k) for shard in shards]

    def contains(self, label: int) -> bool:
        """Return whether a search can find the label, once the set is ready."""
        with self._loaded() as shards:
            return any(shard.contains(label) for shard in shards)

    def live_labels(self) -> set[int]:
        """Return the labels of this moment that a search can find once the set is ready."""
        with self._loaded() as shards:
            return set[int]().union(*(shard.live_labels() for shard in shards))

    def known(self, labels: Sequence[int]) -> set[int]:
        """Return those among `labels` that were ever added, marked since or not."""
        with self._loaded() as shards:
            return set[int]().union(*(shard.known(labels) for shard in shards))

    def statistics(self) -> SetStatistics:
        """Return the size of the set at this moment; what is out of memory stays there."""
        shards, manifest = self._shards, self._manifest
        if shards is None:
            records = manifest.shards if manifest else ()
            return SetStatistics(
                sum(record.live for record in records),
                sum(len(record.deleted) for record in records),
                len(records),
            )
        return SetStatistics(
            live=sum(shard.live_count for shard in shards),
            deleted=sum(shard.deleted_count for shard in shards),
            shards=len(shards),
        )

    def state(self) -> SetState:
        """Return what there is to know of the set."""
        manifest = self._manifest
        age = None if manifest is None else max(0.0, time.time() - manifest.written_at)
        return SetState(*self.statistics(), self.ready, self._shards is not None, age)

    @property
    def ready(self) -> bool:
        """Whether the set is known to hold all that it should."""
        return self._ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        was_filled = ready and not self._ready
        self._ready = ready
        if was_filled and self.unsaved_changes:
            # What filled it may be of any age.
            self._changed_at = float("-inf")
        self.on_change(self)

    @property
    def _snapshot(self) -> SetSnapshot | None:
        # Made when it is needed: kept, it would take more memory than the set itself.
        return None if self._snapshots is None else self._snapshots.of(self.key)

    @property
    def saved_as(self) -> str | None:
        """The name of the folder of its snapshot, None where it has none."""
        snapshots = self._snapshots if self._manifest else None
        return None if snapshots is None else snapshots.name_of(self.key)

    @property
    def has_whole_snapshot(self) -> bool:
        """Whether the set held all that it should when it was saved."""
        return self._manifest is not None and self._manifest.is_whole

    @property
    def unsaved_seconds(self) -> float:
        """The age of the oldest change that no snapshot has; infinite where it is not known."""
        return max(0.0, _steady() - self._changed_at) if self.unsaved_changes else 0.0

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
        """About how much memory the set takes at this moment."""
        return sum(shard.memory_bytes for shard in self._shards or ())

    @property
    def unsaved_changes(self) -> int:
        """How many labels were added or marked, or shards built anew, since the last snapshot."""
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
        """Bring the snapshot up to this moment, within `seconds` for each shard.

        Raises SnapshotError; the snapshot before is still good then.
        """
        with self._saving:
            if self._snapshot is None or self._dropped or not self.unsaved_changes:
                return
            shards = self._shards or ()
            began, is_whole = _steady(), self._ready
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
        """Take the set out of memory; False where its snapshot is behind, or it is not ready."""
        with self._saving, self._changing:
            if self._manifest is None or not self.ready or self.unsaved_changes:
                return False
            self._shards = None
            self._saved = {}
        self.on_change(self)
        return True

    def drop(self) -> None:
        """Empty the set for ever, and remove its snapshot."""
        self._dropped = True
        with self._changing:
            self._shards = ()
        with self._saving:
            self._saved = {}
            self._manifest = None
            if self._snapshot is not None:
                self._snapshot.remove()

    def compact(self, share: float, stopping: threading.Event) -> int:
        """Build those shards anew of which more than `share` is marked; give how many.

        Adds, marks and searches go on meanwhile. A shard of which nothing lives goes away.
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
        """Take note of the time before a change, unless one is waiting to be saved already."""
        if not self.unsaved_changes:
            self._changed_at = _steady()

    @contextmanager
    def _loaded(self, patience: float = -1.0) -> Iterator[tuple[AnyShard, ...]]:
        """Hold the right to change the set, and give its shards; see `search`."""
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

    def _add_piece(self, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        if self._dropped:
            return 0
        self._note_change()
        shards = self._shards or ()
        known = set[int]().union(*(shard.known(labels) for shard in shards))
        first_places: dict[int, int] = {}
        for place, label in enumerate(labels):
            if label not in known:
                first_places.setdefault(label, place)
        new = list(first_places.values())
        added = 0
        while new:
            shard = next((shard for shard in shards if shard.room), None)
            if shard is None:
                shard = ExactShard(self._options)
                self._shards = (*shards, shard)
            fitting, new = new[: shard.room], new[shard.room :]
            shard = self._with_graph_for(len(fitting), shard)
            shards = self._shards or ()
            added += shard.add([labels[place] for place in fitting], vectors[fitting])
        return added

    def _with_graph_for(self, additions: int, shard: AnyShard) -> AnyShard:
        """Return the shard to add to: a new one with a graph if it would be too large without.

        Searches go on in the old one while the graph is built, and changes of the set wait.
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
        """Put another shard, or none, in the place of one, unless the set has that no more."""
        self._shards = tuple(
            one
            for shard in self._shards or ()
            for one in ((new,) if shard is old else (shard,))
            if one is not None
        )
        # Or it would keep the memory of the old one.
        self._saved = {one: known for one, known in self._saved.items() if one is not old}


def _steady() -> float:
    return time.clock_gettime(_STEADY)


def _pieces(total: int, length: int) -> Iterator[slice]:
    return (slice(start, start + length) for start in range(0, total, length))
