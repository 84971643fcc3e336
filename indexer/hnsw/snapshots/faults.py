"""What went wrong with snapshots, for whoever tells people. Knows nothing of files.

Whatever stands here was logged where it happened, and heals without a person.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.key import SetKey


class SnapshotFaults:
    """Snapshots that were lost, and sets that could not be saved. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lost_at: list[float] = []
        self._not_saved: dict[SetKey, str] = {}

    def lost(self) -> None:
        """Note that the snapshot of a set, or the file of one shard, could not be used."""
        with self._lock:
            self._lost_at.append(time.monotonic())

    def lost_within(self, seconds: float) -> int:
        """Return how many were lost within the last `seconds`; forgets older ones."""
        since = time.monotonic() - seconds
        with self._lock:
            self._lost_at = [moment for moment in self._lost_at if moment >= since]
            return len(self._lost_at)

    def not_saved(self, key: SetKey, reason: str) -> None:
        """Note that a set could not be saved."""
        with self._lock:
            # The newest is the last.
            self._not_saved.pop(key, None)
            self._not_saved[key] = reason

    def saved(self, key: SetKey) -> None:
        """Note that a set was saved."""
        with self._lock:
            self._not_saved.pop(key, None)

    def reasons(self) -> dict[SetKey, str]:
        """Return the sets whose last save failed, each with the reason; the newest is the last."""
        with self._lock:
            return dict(self._not_saved)
