"""What is told of a set of vectors."""

from __future__ import annotations

from typing import NamedTuple


class SetStatistics(NamedTuple):
    """The size of a set: findable vectors, marked ones, and shards."""

    live: int
    deleted: int
    shards: int


class SetState(NamedTuple):
    """A set for monitoring; `snapshot_seconds` is the age of its snapshot, None without one."""

    live: int
    deleted: int
    shards: int
    ready: bool
    loaded: bool
    snapshot_seconds: float | None
