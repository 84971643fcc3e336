"""The real stack on a copy of a generated catalogue."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.processes import ROOT
from tests.e2e.client import Api
from tests.e2e.own_servers import OwnServers
from tests.e2e.stack import Stack
from tests.volume.catalog import KEPT, Shape
from tests.volume.files import DATABASE, copied

#: So that what is submitted stays, and no processor works on it while times are taken.
STOPPED = ("fetch", "vision", "flower")
#: A busy machine may take minutes to compare 50,000 vectors with their rows.
READY_SECONDS = 900.0
SETTINGS = {
    "collections_per_user": "0",
    "images_per_product": "0",
    "fetch_allow": "127.0.0.1",
    "torch_threads": "1",
    # At its start the index process reads all labels of vectors in one command, which the embedded
    # database answers no other command beside: seconds for 50,000 on a busy machine.
    "mongo_timeout_seconds": "60",
    "task_seconds": str(KEPT.total_seconds()),
}


class Service:
    """A running stack, and the shape of its catalogue."""

    def __init__(self, shape: Shape, stack: Stack, servers: OwnServers) -> None:
        self.shape = shape
        self.stack = stack
        self.mongo_url = servers.mongo_url
        self.api = Api(stack.base_url)
        self._sweeper: subprocess.Popen[str] | None = None

    def settle(self) -> None:
        """Stop the workers that would take processor time."""
        for kind in STOPPED:
            process = self.stack.processes.pop(kind)
            process.terminate()
            process.wait(60)

    def sweep(self) -> dict[str, float]:
        """Do every sweep once, instead of the workers; return the seconds of each."""
        if self._sweeper is None:
            for kind in ("beat", "maintenance"):
                process = self.stack.processes.pop(kind)
                process.terminate()
                process.wait(60)
            self._sweeper = subprocess.Popen(
                [sys.executable, "-m", "tests.volume.sweeps"],
                cwd=ROOT,
                env={**self.stack.environment, "SNAPSKU_LOG_LEVEL": "ERROR"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._sweeper.stdin is not None
        assert self._sweeper.stdout is not None
        self._sweeper.stdin.write("\n")
        self._sweeper.stdin.flush()
        seconds: dict[str, float] = json.loads(self._sweeper.stdout.readline())
        return seconds

    def close(self) -> None:
        """End what this object began."""
        self.api.close()
        if self._sweeper is not None:
            assert self._sweeper.stdin is not None
            self._sweeper.stdin.close()
            self._sweeper.wait(60)
            assert self._sweeper.stdout is not None
            self._sweeper.stdout.close()


@contextmanager
def serving(kept: Path, shape: Shape, folder: Path) -> Iterator[Service]:
    """Run the stack on a copy, which is made in `folder` and removed in the end."""
    with copied(kept, folder / shape.name) as files:
        logs = files / "logs"
        logs.mkdir()
        servers = OwnServers(files / "servers")
        stack = Stack(
            files / "data",
            logs,
            mongo_url=servers.mongo_url,
            redis_url=servers.redis_url,
            mongo_database=DATABASE,
            **SETTINGS,
        )
        servers.start()
        try:
            stack.start()
            stack.await_ready(READY_SECONDS)
            service = Service(shape, stack, servers)
            try:
                service.settle()
                yield service
            finally:
                service.close()
        finally:
            stack.stop()
            servers.stop()
