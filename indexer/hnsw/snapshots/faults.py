"""Recent faults of snapshots, for monitoring.

Each was logged when it happened, and is repaired without an operator.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.key import SetKey


class SnapshotFaults:
    """Snapshots that were lost, and sets that could not be saved. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lost_at: list[float] = []
        self._not_saved: dict[SetKey, str] = {}

    def lost(self) -> None:
        """Note that the snapshot of a set, or the file of one shard, could not be used."""
        with self._lock:
            self._lost_at.append(time.monotonic())

    def lost_within(self, seconds: float) -> int:
        """Return how many were lost in the last `seconds`; older ones are dropped."""
        since = time.monotonic() - seconds
        with self._lock:
            self._lost_at = [moment for moment in self._lost_at if moment >= since]
            return len(self._lost_at)

    def not_saved(self, key: SetKey, reason: str) -> None:
        """Note why a set could not be saved."""
        with self._lock:
            # Removed first, so that the newest comes last.
            self._not_saved.pop(key, None)
            self._not_saved[key] = reason

    def saved(self, key: SetKey) -> None:
        """Note that a set was saved, which clears its fault."""
        with self._lock:
            self._not_saved.pop(key, None)

    def reasons(self) -> dict[SetKey, str]:
        """Return the reason for each set whose last save failed; the newest comes last."""
        with self._lock:
            return dict(self._not_saved)
