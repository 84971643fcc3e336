"""Reports of processes on their machines: how far the clock is off, how much disk is free.

Every process of the API (`app.serving.configuration`) and of the workers that serves
(`workers.support.process_reporter`) reports; beat and Flower do not. Each writes a key of its own
in Redis that expires, so a process that ended is forgotten by Redis's clock. /readyz and `snapsku
doctor` show the reports, and add_image refuses work when the disk of any of the machines is short
(`app.auth.backlog`). While Redis is away, the API knows of the disk of its own machine only.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import redis
import structlog
from redis.exceptions import RedisError

from broker.reports.stored_report import read_report
from catalog.database.database_time import DATABASE_TIME
from config.files import free_bytes

log = structlog.get_logger(__name__)

#: Seconds between two reports of a process.
REPORT_SECONDS = 10.0

#: Expiry of a report: a process that misses three in a row is forgotten.
GOOD_SECONDS = 35.0

#: /readyz and doctor warn of a larger offset: no row suffers, since rows go by the clock of the
#: database, but times in log lines are hard to compare, and signed calls fail from five minutes on.
CLOCK_SECONDS = 2.0

#: The key of the set of names, without which the reports could not be listed.
_NAMES = "processes"


@dataclass(frozen=True)
class ProcessReport:
    """A report of a process on the machine that it runs on."""

    process: str  #: its kind, process id and host
    clock_offset_seconds: float  #: of its wall clock, ahead of the database's; negative: behind
    disk_free_bytes: int  #: under its data directory

    @property
    def clock_is_off(self) -> bool:
        """Whether the clock of the machine is off by more than CLOCK_SECONDS."""
        return abs(self.clock_offset_seconds) > CLOCK_SECONDS

    @property
    def warnings(self) -> list[str]:
        """What /readyz warns of."""
        if not self.clock_is_off:
            return []
        off = self.clock_offset_seconds
        direction = "ahead of" if off > 0 else "behind"
        return [f"clock of {self.process}: {abs(off):.1f} s {direction} the database's"]


@dataclass(frozen=True)
class AgedReport:
    """A report and its age."""

    report: ProcessReport
    age_seconds: float


class ProcessReports:
    """The reports of all processes, in Redis. Every method raises RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def publish(self, report: ProcessReport) -> None:
        """Store the report of a process in place of its last one."""
        with self._client.pipeline() as pipeline:
            pipeline.sadd(_NAMES, report.process)
            pipeline.set(
                _key(report.process), json.dumps(asdict(report)), px=round(GOOD_SECONDS * 1000)
            )
            pipeline.execute()

    def latest(self) -> list[AgedReport]:
        """Return the unexpired reports, sorted by process; [] if there are none.

        Reports of an older release that lack a field are left out. Names without a report are
        removed.
        """
        names = sorted(name.decode() for name in cast("set[bytes]", self._client.smembers(_NAMES)))
        if not names:
            return []
        with self._client.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.get(_key(name))
                pipeline.pttl(_key(name))
            told = pipeline.execute()
        found, gone = [], []
        for name, data, left in zip(names, told[::2], told[1::2], strict=True):
            if data is None:
                gone.append(name)
                continue
            report = read_report(ProcessReport, data)
            if report is not None:
                found.append(AgedReport(report, round(GOOD_SECONDS - left / 1000, 1)))
        if gone:
            # A process that reports at this very moment adds its name again with its next report.
            self._client.srem(_NAMES, *gone)
        return found


def _key(name: str) -> str:
    return f"process:{name}"


class ProcessReporter:
    """A thread that reports on this process for as long as it lives."""

    def __init__(self, kind: str, reports: ProcessReports, data_dir: Path) -> None:
        """Take the kind of process for its name, and a folder on the disk to be watched.

        Make it after the process was forked: the name has the process id, and the thread would be
        left behind.
        """
        self._name = f"{kind} process {os.getpid()} on {socket.gethostname()}"
        self._reports = reports
        self._data_dir = data_dir
        self._is_heard = True
        # Never set: the daemon thread ends with the process.
        self._never = threading.Event()

    def start(self) -> None:
        """Start the thread, whose first report follows at once."""
        threading.Thread(target=self._run, name="process report", daemon=True).start()

    def report(self) -> None:
        """Report once; log only the first failure in a row.

        The offset is 0 until the heartbeats of MongoDB's client have measured it.
        """
        try:
            self._reports.publish(
                ProcessReport(
                    self._name,
                    round(DATABASE_TIME.offset_seconds(), 3),
                    free_bytes(self._data_dir),
                )
            )
            self._is_heard = True
        except (RedisError, OSError) as error:
            if self._is_heard:
                log.warning("process not reported", fault=str(error))
            self._is_heard = False

    def _run(self) -> None:
        while True:
            self.report()
            self._never.wait(REPORT_SECONDS)


def least_free(reports: Sequence[AgedReport]) -> ProcessReport | None:
    """Return the report with the least free disk, or None if there is none."""
    return min((one.report for one in reports), key=lambda r: r.disk_free_bytes, default=None)
