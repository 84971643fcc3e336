"""What the index process reports of itself, in Redis: ready, standing by or refused."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import cast

import redis

#: How long it is remembered that an index process was refused, unless it starts after all.
REFUSED_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """How the index is, by the process that keeps it."""

    process: str  #: its host and process id
    is_complete: bool  #: whether all its sets are known; if not, it has yet to read the rows
    sets: int
    sets_not_ready: int  #: they are loaded or built, and not searched yet
    snapshots_lost: int  #: of sets or single shards, lately; they are built from the rows
    sets_not_saved: int  #: their last snapshot failed; the one before is still good
    save_fault: str  #: why the last of these failed; empty where there is none
    epoch: int  #: of its lease; each owner has a higher one than the owner before
    bad_vectors: int = 0  #: images that are not searched, since their vector is no vector
    bad_images: str = ""  #: some of them, each as collection/image id


class IndexReports:
    """What the owner of the index says of itself, what standbys say, and one that was refused."""

    def __init__(self, client: redis.Redis, stalled_seconds: float) -> None:
        """Let each report be good for `stalled_seconds`."""
        self._client = client
        self._good_seconds = stalled_seconds
        self._milliseconds = round(stalled_seconds * 1000)

    def publish(self, report: IndexReport) -> None:
        """Say how the index is, and that its process is no standby."""
        with self._client.pipeline() as pipeline:
            pipeline.set("index:report", json.dumps(asdict(report)), px=self._milliseconds)
            pipeline.zrem("index:standbys", report.process)
            pipeline.execute()

    def stand_by(self, process: str) -> None:
        """Say that a process waits to own the index; to be repeated while it does."""
        seconds = self._seconds()
        with self._client.pipeline() as pipeline:
            pipeline.zadd("index:standbys", {process: seconds})
            pipeline.zremrangebyscore("index:standbys", "-inf", seconds - self._good_seconds)
            pipeline.pexpire("index:standbys", self._milliseconds)
            pipeline.execute()

    def standbys(self) -> list[str]:
        """Return the processes that wait to own the index, in the order of their names."""
        least = self._seconds() - self._good_seconds
        found = cast("list[bytes]", self._client.zrangebyscore("index:standbys", least, "+inf"))
        return sorted(process.decode() for process in found)

    def _seconds(self) -> float:
        # By Redis's clock alone, so the clocks of the machines need not agree.
        seconds, microseconds = self._client.time()
        return seconds + microseconds / 1e6

    def latest(self) -> tuple[IndexReport | None, str]:
        """Return the report that is good, if any, and which process was refused, if one was."""
        report, refused = cast(
            "list[bytes | None]", self._client.mget("index:report", "index:refused")
        )
        return _report(report), (refused or b"").decode()

    def refuse(self, process: str, reason: str) -> None:
        """Say that a process may not keep the index."""
        self._client.set("index:refused", f"{process}: {reason}", ex=REFUSED_SECONDS)

    def accept(self) -> None:
        """Say that no process was refused that is not at work by now."""
        self._client.unlink("index:refused")


def _report(data: bytes | None) -> IndexReport | None:
    try:
        return None if data is None else IndexReport(**json.loads(data))
    except TypeError:  # of another release
        return None
