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
    from indexer.index import VectorIndex
    from indexer.key import SetKey

FAULT_PAUSE = 5.0
"""Seconds without any work after a fault."""

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
        restore: Callable[[threading.Event], Sequence[VectorIndex]],
        options: KeeperOptions,
        keep_checkpoints: Callable[[], None] = lambda: None,
    ) -> None:
        """`restore` makes sets ready that are not, and gives all indexes there are by then.

        It ends early when the event that it is given is set. `keep_checkpoints` is called after
        every look, and when all was saved in the end.
        """
        self._restore = restore
        self._keep_checkpoints = keep_checkpoints
        self._options = options
        self._stopping = threading.Event()
        self._looked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index keeper", daemon=True)
        self._indexes: Sequence[VectorIndex] = ()
        self._due: dict[VectorIndex, dict[SetKey, float]] = {}
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
        self._indexes = self._restore(self._stopping)
        self._looked.set()
        for index in self._indexes:
            if self._stopping.is_set():
                return
            index.compact(self._options.deleted_share, self._stopping)
            self._save_what_is_due(index)
            if self._options.memory_bytes:
                others = sum(one.memory_bytes for one in self._indexes if one is not index)
                left = max(0, self._options.memory_bytes - others)
                index.unload_beyond(left, self._options.idle_seconds)
        self._keep_checkpoints()

    def _save_what_is_due(self, index: VectorIndex) -> None:
        unsaved = index.unsaved()
        dues = self._due[index] = {
            key: when for key, when in self._due.get(index, {}).items() if key in unsaved
        }
        failed = self._failed[index] = self._failed.get(index, set()) & unsaved.keys()
        for key, changes in unsaved.items():
            if self._stopping.is_set():
                return
            now = time.monotonic()
            due = dues.setdefault(key, now + self._options.snapshot_seconds)
            many = changes >= self._options.snapshot_changes and key not in failed
            if now < due and not many:
                continue
            del dues[key]
            if index.save(key):
                failed.discard(key)
            else:
                dues[key] = now + self._options.snapshot_seconds
                failed.add(key)
