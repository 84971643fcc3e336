"""The thread by which the index process says how it is, as long as it runs.

/readyz reads what it says. Knows nothing of vectors.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict

import structlog
from redis.exceptions import RedisError

from workers.catalog_index import IndexHealth
from workers.staging import IndexReport, IndexReports

#: Between two reports, at most.
REPORT_SECONDS = 1.0

log = structlog.get_logger(__name__)


def this_process() -> str:
    """Give a name of this process that a person can find it by."""
    return f"process {os.getpid()} on {socket.gethostname()}"


class HealthReporter:
    """A thread that runs from `start` to `stop`."""

    def __init__(
        self,
        health: Callable[[], IndexHealth],
        reports: Callable[[], IndexReports],
        stalled_seconds: float,
        process: str,
    ) -> None:
        """Have a rival out of mind `stalled_seconds` after it was last seen."""
        self._health = health
        self._reports = reports
        self._stalled_seconds = stalled_seconds
        self._process = process
        self._has_published = False
        self._rival = ""
        self._rival_seen_at = float("-inf")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index health", daemon=True)

    def start(self) -> None:
        """Begin, with a first report."""
        self.report()
        self._thread.start()

    def stop(self) -> None:
        """End; the last report is good for some seconds more."""
        self._stopping.set()

    def report(self) -> None:
        """Say how the index is; a line in the log where Redis can't be reached."""
        if time.monotonic() - self._rival_seen_at > self._stalled_seconds:
            self._rival = ""
        report = IndexReport(process=self._process, rival=self._rival, **asdict(self._health()))
        try:
            before = self._reports().publish(report)
        except RedisError as error:
            log.warning("health of the index not reported", fault=str(error))
            return
        # Before the first report of this process, it is the one of its forerunner.
        if self._has_published and before is not None and before.process != self._process:
            if not self._rival:
                log.error("another process keeps an index, both miss images", other=before.process)
            self._rival = before.process
            self._rival_seen_at = time.monotonic()
        self._has_published = True

    def _run(self) -> None:
        while not self._stopping.wait(min(REPORT_SECONDS, self._stalled_seconds / 5)):
            self.report()
