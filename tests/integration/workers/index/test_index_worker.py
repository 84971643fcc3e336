"""A real index worker: what it saves when it is stopped, it loads when it is started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from catalog.store import Catalog
from tests.integration.workers.index.rows import (
    MODEL,
    put,
)


class Worker:
    """The index process as the Procfile starts it, with a data directory of its own."""

    def __init__(self, data_dir: Path, log: Path) -> None:
        self._log = log
        command = "celery --quiet -A workers.index worker --without-mingle --without-gossip"
        queues = ["-n", "index-recovery@%h", "-Q", "index,neighbours", "-P", "threads", "-c", "4"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command.split(), *queues],
                cwd=Path(__file__).resolve().parents[4],
                env={
                    **os.environ,
                    "SNAPSKU_DATA_DIR": str(data_dir),
                    "SNAPSKU_LOG_FORMAT": "json",
                },
                stderr=output,
                stdout=output,
            )

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = []
        for line in self._log.read_text().splitlines():
            if line.startswith("{"):
                fields = json.loads(line)
                if fields["event"].startswith(event):
                    found.append(fields)
        return found

    def await_line(self, event: str) -> dict[str, Any]:
        deadline = time.monotonic() + 100
        while not self.lines(event):
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)
        return self.lines(event)[0]

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code; fail where it goes on for 200 s."""
        self.process.send_signal(number)
        return self.process.wait(200)


def test_a_real_worker_saves_when_it_is_stopped_and_loads_when_it_is_started(
    catalog: Catalog, redis_client: object, tmp_path: Path
) -> None:
    catalog.models.adopt(MODEL)
    put(catalog, range(1, 151))
    workers: list[Worker] = []

    def started() -> Worker:
        workers.append(Worker(tmp_path / "data", tmp_path / f"{len(workers)}.log"))
        return workers[-1]

    try:
        first = started()
        assert first.await_line("set ready")["added"] == 150
        first.await_line("index-recovery@")
        assert first.end(signal.SIGTERM) == 0
        assert len(list((tmp_path / "data/index/sets").glob("*/manifest"))) == 1

        put(catalog, range(151, 161))
        second = started()
        assert second.await_line("set caught up")["added"] == 10
        second.end(signal.SIGKILL)

        third = started()
        late = third.await_line("set caught up")
        assert late["added"] == 10, "what was killed had saved nothing"
        assert second.lines("set ready") == third.lines("set ready") == []
        third.await_line("index-recovery@")
        assert third.end(signal.SIGTERM) == 0
        for worker in workers:
            assert '"level": "error"' not in worker._log.read_text()
    finally:
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait(10)
