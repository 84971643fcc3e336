"""The thread that reports the health of the index in Redis, for /readyz and `snapsku doctor`."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass

import structlog
from redis.exceptions import RedisError

from broker.reports.index_reports import IndexReport, IndexReports

#: Most seconds between two reports.
REPORT_SECONDS = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class IndexHealth:
    """The health of the index of a process; see `broker.reports.index_reports.IndexReport`."""

    is_complete: bool
    sets: int = 0
    sets_not_ready: int = 0
    snapshots_lost: int = 0
    sets_not_saved: int = 0
    save_fault: str = ""
    bad_vectors: int = 0
    bad_images: str = ""


def this_process() -> str:
    """Return a name of this process for operators: its process id and its host."""
    return f"process {os.getpid()} on {socket.gethostname()}"


class HealthReporter:
    """A thread that runs from `start` to `stop`."""

    def __init__(
        self,
        health: Callable[[], IndexHealth],
        reports: Callable[[], IndexReports],
        stalled_seconds: float,
        process: str,
        epoch: Callable[[], int | None],
    ) -> None:
        """Report at least five times in `stalled_seconds`, while `epoch` returns one."""
        self._health = health
        self._reports = reports
        self._stalled_seconds = stalled_seconds
        self._process = process
        self._epoch = epoch
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index health", daemon=True)

    def start(self) -> None:
        """Report once, then start the thread."""
        self.report()
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; the last report stays valid for some seconds."""
        self._stopping.set()

    def report(self) -> None:
        """Report the health if this process owns the index; log a RedisError."""
        epoch = self._epoch()
        if epoch is None:
            return
        report = IndexReport(process=self._process, epoch=epoch, **asdict(self._health()))
        try:
            self._reports().publish(report)
        except RedisError as error:
            log.warning("health of the index not reported", fault=str(error))

    def _run(self) -> None:
        while not self._stopping.wait(min(REPORT_SECONDS, self._stalled_seconds / 5)):
            self.report()
