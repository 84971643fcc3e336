"""The thread that keeps one index or several: snapshots, shards built anew, memory given back.

One thing after the other, so that the work in the background never takes more than one
processor. Knows nothing of rows: what restores sets that are not ready is given to it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.hnsw.index import VectorIndex
    from indexer.key import SetKey

FAULT_PAUSE = 5.0
"""Seconds without any work after a fault."""

LOOK_SHARE = 0.1
"""The share of the time in which sets are made ready that looks for what to save may take."""

Indexes = Sequence["VectorIndex"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeeperOptions:
    """When there is something to do; times are seconds."""

    snapshot_seconds: float
    """A set that changed is saved after this time, and a failed snapshot tried again."""

    snapshot_changes: int
    """A set with so many changes is saved at once."""

    deleted_share: float
    """A shard of which more is deleted is built anew."""

    memory_bytes: int = 0
    """Beyond it, idle sets go out of memory; 0: they stay."""

    idle_seconds: float = 5.0
    """A set that was used within this time is not idle."""

    pause_seconds: float = 0.5
    """Between two looks at what there is to do."""


class Keeper:
    """A thread that runs from `start` to `stop`."""

    def __init__(
        self,
        restore: Callable[[threading.Event, Callable[[Indexes], None]], Indexes],
        options: KeeperOptions,
        keep_checkpoints: Callable[[], None] = lambda: None,
    ) -> None:
        """`restore` makes sets ready that are not, and returns all indexes there are by then.

        It ends early when the event that it is given is set. Its other argument is called with
        the indexes between two sets, and saves what is due. `keep_checkpoints` is called after
        every look, and when all was saved in the end.
        """
        self._restore = restore
        self._keep_checkpoints = keep_checkpoints
        self._options = options
        self._stopping = threading.Event()
        self._looked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index keeper", daemon=True)
        self._indexes: Indexes = ()
        self._save_meanwhile_at = float("-inf")
        self._dues: dict[VectorIndex, dict[SetKey, float]] = {}
        self._failed: dict[VectorIndex, set[SetKey]] = {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until everything was restored for the first time; False if it takes longer."""
        return self._looked.wait(seconds)

    def begin_stop(self) -> None:
        """Let the work under way end early; safe in a signal handler."""
        self._stopping.set()

    def stop(self, seconds: float) -> None:
        """End the thread and save what changed, all within about so many seconds."""
        deadline = time.monotonic() + seconds
        self.begin_stop()
        if self._thread.is_alive():
            self._thread.join(seconds)
        if self._thread.is_alive():
            return
        for index in self._indexes:
            for key in index.unsaved():
                left = deadline - time.monotonic()
                if left <= 0:
                    logger.warning("no time left for the snapshots of all sets, some stay older")
                    return
                index.save(key, left)
        self._keep_checkpoints()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except Exception:
                logger.exception("work on the index in the background failed")
                self._stopping.wait(FAULT_PAUSE)
            self._stopping.wait(self._options.pause_seconds)

    def _look(self) -> None:
        self._indexes = self._restore(self._stopping, self._save_meanwhile)
        self._looked.set()
        for index in self._indexes:
            if self._stopping.is_set():
                return
            index.compact(self._options.deleted_share, self._stopping)
            self._save(index, self._due_of(index))
            if self._options.memory_bytes:
                others = sum(one.memory_bytes for one in self._indexes if one is not index)
                left = max(0, self._options.memory_bytes - others)
                index.unload_beyond(left, self._options.idle_seconds)
        self._keep_checkpoints()

    def _save_meanwhile(self, indexes: Indexes) -> None:
        """Save what is due of the sets that are ready, while others are made ready.

        Does nothing where the last time was a moment ago. A set that is not ready stays as it
        was saved: its snapshot may be whole, and the next one would not be.
        """
        began = time.monotonic()
        if began < self._save_meanwhile_at:
            return
        self._indexes = indexes
        due = [(index, self._due_of(index, only_ready=True)) for index in indexes]
        looked = time.monotonic() - began
        for index, keys in due:
            self._save(index, keys)
        pause = max(self._options.pause_seconds, looked / LOOK_SHARE)
        self._save_meanwhile_at = time.monotonic() + pause

    def _due_of(self, index: VectorIndex, *, only_ready: bool = False) -> list[SetKey]:
        """Return the sets of an index that are to be saved now."""
        unsaved = index.unsaved()
        if only_ready:
            unsaved = {key: changes for key, changes in unsaved.items() if index.is_ready(key)}
        dues = self._dues[index] = {
            key: when for key, when in self._dues.get(index, {}).items() if key in unsaved
        }
        failed = self._failed[index] = self._failed.get(index, set()) & unsaved.keys()
        now = time.monotonic()
        found = []
        for key, changes in unsaved.items():
            due = dues.setdefault(key, now + self._options.snapshot_seconds)
            many = changes >= self._options.snapshot_changes and key not in failed
            if now >= due or many:
                found.append(key)
        return found

    def _save(self, index: VectorIndex, keys: Sequence[SetKey]) -> None:
        for key in keys:
            if self._stopping.is_set():
                return
            if index.save(key):
                del self._dues[index][key]
                self._failed[index].discard(key)
            else:
                self._dues[index][key] = time.monotonic() + self._options.snapshot_seconds
                self._failed[index].add(key)
