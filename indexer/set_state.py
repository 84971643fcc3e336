"""The size and the state of a set, as reported for monitoring."""

from __future__ import annotations

from typing import NamedTuple


class SetState(NamedTuple):
    """The state of a set; `snapshot_seconds` is the age of its snapshot, None if it has none."""

    #: Images that a search can find, and those that are marked as deleted.
    live: int
    deleted: int

    shards: int
    ready: bool
    loaded: bool
    snapshot_seconds: float | None
