"""The size and the state of a set, as reported for monitoring."""

from __future__ import annotations

from typing import NamedTuple


class SetStatistics(NamedTuple):
    """The size of a set: findable vectors, marked ones, and shards."""

    live: int
    deleted: int
    shards: int


class SetState(NamedTuple):
    """The state of a set; `snapshot_seconds` is the age of its snapshot, None if it has none."""

    live: int
    deleted: int
    shards: int
    ready: bool
    loaded: bool
    snapshot_seconds: float | None
