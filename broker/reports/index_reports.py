"""Reports of the index processes in Redis: the owner, standbys, and a process that was refused.

The index processes write them (`workers.index`, `workers.index_process.health`); /readyz and
`snapsku doctor` show them. Who owns the index is in MongoDB, see
`catalog.coordination.index_ownership`; no process decides that by a report. So one that is lost
makes /readyz answer 503, and stops no work.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import cast

import redis

from broker.reports.stored_report import read_report

#: How long a refusal is reported, unless an index process gets the directory before then.
REFUSED_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """The state of the index, as its owner reports it."""

    process: str  #: its process id and host
    is_complete: bool  #: whether all its sets are known; if not, it has yet to read the rows
    sets: int  #: of all models
    sets_not_ready: int  #: loaded, compared with the rows or built now; not searched yet
    snapshots_lost: int  #: of sets or single shards, lately; they are built from the rows
    sets_not_saved: int  #: their last snapshot failed; the one before is still good
    save_fault: str  #: why the last of these failed; empty if none did
    epoch: int  #: of its lease; each owner has a higher one than the owner before
    bad_vectors: int = 0  #: images that are not searched, since their vector is invalid
    bad_images: str = ""  #: some of them, each as collection/image id

    @property
    def faults(self) -> list[str]:
        """Why the index is not ready, for /readyz."""
        faults = []
        if not self.is_complete:
            faults.append("index: not all sets are known yet")
        if self.sets_not_ready:
            faults.append(f"index: {self.sets_not_ready} of {self.sets} sets are not ready")
        return faults

    @property
    def warnings(self) -> list[str]:
        """What /readyz warns of."""
        warnings = []
        if self.snapshots_lost:
            warnings.append(
                f"index: {self.snapshots_lost} snapshots were lost and are built anew from MongoDB"
            )
        if self.sets_not_saved:
            warnings.append(
                f"index: {self.sets_not_saved} of {self.sets} sets could not be saved "
                f"({self.save_fault})"
            )
        if self.bad_vectors:
            warnings.append(
                f"index: {self.bad_vectors} images have a vector that can't be searched "
                "(`snapsku doctor` names them)"
            )
        return warnings


class IndexReports:
    """The reports of the owner, of standbys, and of a process that was refused."""

    def __init__(self, client: redis.Redis, stalled_seconds: float) -> None:
        """Take how long a report of an owner or a standby is valid.

        The owner reports at least five times in `stalled_seconds`.
        """
        self._client = client
        self._good_seconds = stalled_seconds
        self._milliseconds = round(stalled_seconds * 1000)

    def publish(self, report: IndexReport) -> None:
        """Replace the owner's report, and remove its process from the standbys.

        For the owner alone; raises RedisError, as every method here.
        """
        with self._client.pipeline() as pipeline:
            pipeline.set("index:report", json.dumps(asdict(report)), px=self._milliseconds)
            pipeline.zrem("index:standbys", report.process)
            pipeline.execute()

    def stand_by(self, process: str) -> None:
        """Record a process as a standby; to be repeated while it waits for the index."""
        seconds = self._seconds()
        with self._client.pipeline() as pipeline:
            pipeline.zadd("index:standbys", {process: seconds})
            pipeline.zremrangebyscore("index:standbys", "-inf", seconds - self._good_seconds)
            pipeline.pexpire("index:standbys", self._milliseconds)
            pipeline.execute()

    def standbys(self) -> list[str]:
        """Return the names of the standbys, sorted."""
        least = self._seconds() - self._good_seconds
        found = cast("list[bytes]", self._client.zrangebyscore("index:standbys", least, "+inf"))
        return sorted(process.decode() for process in found)

    def _seconds(self) -> float:
        # By Redis's clock alone, so the clocks of the machines need not agree.
        seconds, microseconds = self._client.time()
        return seconds + microseconds / 1e6

    def latest(self) -> tuple[IndexReport | None, str]:
        """Return the owner's valid report and "process: reason" of a refusal.

        The first is None if the owner is silent, or of an older release whose report lacks a
        field; the second is empty if no process was refused.
        """
        report, refused = cast(
            "list[bytes | None]", self._client.mget("index:report", "index:refused")
        )
        known = None if report is None else read_report(IndexReport, report)
        return known, (refused or b"").decode()

    def refuse(self, process: str, reason: str) -> None:
        """Record that a process ends since it may not own the index, and why."""
        self._client.set("index:refused", f"{process}: {reason}", ex=REFUSED_SECONDS)

    def accept(self) -> None:
        """Clear the notice that an index process was refused: one has got the directory."""
        self._client.unlink("index:refused")
