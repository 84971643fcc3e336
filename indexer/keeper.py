"""The background thread of indexes: it saves snapshots, compacts shards and unloads sets.

It does one thing after the other, so that background work takes at most one processor.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.key import SetKey
    from indexer.vector_store import VectorStore

#: Seconds without any work after a fault.
FAULT_PAUSE = 5.0

#: While sets are made ready, the share of the time that looking for sets to save may take.
LOOK_SHARE = 0.1

Indexes = Sequence["VectorStore"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeeperOptions:
    """When the keeper acts; times are in seconds."""

    #: From the first change of a set to its snapshot, and from a failed snapshot to the next try.
    snapshot_seconds: float

    #: A set with so many changes is saved at once.
    snapshot_changes: int

    #: A shard is rebuilt if a larger share of its images is deleted.
    deleted_share: float

    #: Idle sets are unloaded beyond so much memory; 0 for never.
    memory_bytes: int = 0

    #: A set is idle if it was not used for so long.
    idle_seconds: float = 5.0

    #: The pause between two rounds.
    pause_seconds: float = 0.5


class Keeper:
    """The background thread, which runs from `start` to `stop`."""

    def __init__(
        self,
        restore: Callable[[threading.Event, Callable[[Indexes], None]], Indexes],
        options: KeeperOptions,
        keep_checkpoints: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the callbacks of the owner of the indexes.

        `restore` makes sets ready that are not, and returns all indexes. It returns early once
        its event is set. Between two sets it calls its second argument with the indexes, which
        saves sets that are due. `keep_checkpoints` is called after every round, and after the
        last save.
        """
        self._restore = restore
        self._keep_checkpoints = keep_checkpoints
        self._options = options
        self._stopping = threading.Event()
        self._looked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index keeper", daemon=True)
        self._indexes: Indexes = ()
        self._save_meanwhile_at = float("-inf")
        self._dues: dict[VectorStore, dict[SetKey, float]] = {}
        self._failed: dict[VectorStore, set[SetKey]] = {}

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until `restore` first returned; return False if that takes more than `seconds`."""
        return self._looked.wait(seconds)

    def begin_stop(self) -> None:
        """Make the work under way end early; safe in a signal handler."""
        self._stopping.set()

    def stop(self, seconds: float) -> None:
        """End the thread, and save the sets that changed, within about `seconds` in all.

        Sets for which no time is left keep their older snapshot, which is logged.
        """
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
                # The thread must live: without it nothing is saved, and no set becomes ready.
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
        """Save ready sets that are due, while others are made ready.

        Do nothing shortly after the last call. A set that is not ready is not saved: its present
        snapshot may be whole, and a new one would not be.
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

    def _due_of(self, index: VectorStore, *, only_ready: bool = False) -> list[SetKey]:
        """Return the keys of the sets of an index that are to be saved now."""
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

    def _save(self, index: VectorStore, keys: Sequence[SetKey]) -> None:
        for key in keys:
            if self._stopping.is_set():
                return
            if index.save(key):
                del self._dues[index][key]
                self._failed[index].discard(key)
            else:
                self._dues[index][key] = time.monotonic() + self._options.snapshot_seconds
                self._failed[index].add(key)
