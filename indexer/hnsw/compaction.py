"""Compaction: a shard is rebuilt from its live images, to free the memory of marked ones.

The caller swaps the shards, and makes sure that nothing changes the old one between `finish` and
the swap.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from indexer.hnsw.exact_shard import ExactShard
from indexer.hnsw.shard import FIRST_SIZE, Shard

if TYPE_CHECKING:
    from indexer.hnsw.options import IndexOptions
    from indexer.hnsw.shard import AnyShard


class Compaction:
    """The rebuilding of one shard; not thread-safe."""

    def __init__(self, old: AnyShard, options: IndexOptions) -> None:
        self._old = old
        self._piece = options.vectors_per_write
        # Half of the bound, so that the next additions do not build a graph at once again.
        self.new: AnyShard = (
            ExactShard(options)
            if isinstance(old, ExactShard) or old.live_vectors <= options.exact_up_to // 2
            else Shard(options, old.live_vectors + FIRST_SIZE)
        )

    def copy(self, stopping: threading.Event) -> bool:
        """Copy the live vectors while the old shard is used and changed; return False if stopped.

        Afterwards few vectors are left for `finish`, unless they are added faster than copied.
        """
        rounds = 10
        while rounds:
            missing = self._missing()
            if len(missing) <= self._piece:
                return True
            for start in range(0, len(missing), self._piece):
                if stopping.is_set():
                    return False
                self._copy(missing[start : start + self._piece])
            rounds -= 1
        return True

    def finish(self) -> None:
        """Copy the rest, and mark what was marked meanwhile. Nothing may change the old shard."""
        self._copy(self._missing())
        self.new.mark_deleted(list(self.new.live_labels() - self._old.live_labels()))

    def _missing(self) -> list[int]:
        live = self._old.live_labels()
        return list(live - self.new.held(live))

    def _copy(self, labels: list[int]) -> None:
        live, vectors = self._old.read(labels)
        if live:
            self.new.add(live, vectors)
