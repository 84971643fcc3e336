"""Real index processes, each on a data directory, and what one says through Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

import workers
from broker.reports.index_reports import IndexReport, IndexReports


class IndexProcess:
    """The index process as the Procfile starts it, but for its name."""

    def __init__(self, data_dir: Path, log: Path) -> None:
        self._log = log
        command = "celery --quiet -A workers.index worker --without-mingle --without-gossip"
        rest = f"-n {log.stem}@%h -Q index,neighbours -P threads -c 4"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command.split(), *rest.split()],
                cwd=Path(workers.__file__).parents[1],
                env={
                    **os.environ,
                    "SNAPSKU_DATA_DIR": str(data_dir),
                    "SNAPSKU_LOG_FORMAT": "json",
                },
                stdout=output,
                stderr=output,
            )

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code; fail where it goes on for 30 s."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def await_event(self, event: str, seconds: float = 60) -> dict[str, Any]:
        """Return the first log line of an event once it is there."""
        deadline = time.monotonic() + seconds
        while True:
            found = [line for line in self.lines() if line["event"] == event]
            if found:
                return found[0]
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text()

    def lines(self, level: str = "") -> list[dict[str, Any]]:
        """Return the log lines of a level, or all."""
        written = [
            line for line in self.log.splitlines() if line.startswith("{") and line[-1] == "}"
        ]
        lines = [json.loads(line) for line in written]
        return [line for line in lines if level in ("", line["level"])]


StartProcess = Callable[..., IndexProcess]


def reported(
    client: redis.Redis, holds: Callable[[IndexReport], bool], process: IndexProcess
) -> IndexReport:
    """Wait until the index says something."""
    deadline = time.monotonic() + 60
    while True:
        report, _ = IndexReports(client, 30.0).latest()
        if report is not None and holds(report):
            return report
        assert time.monotonic() < deadline, (report, process.log)
        time.sleep(0.1)
