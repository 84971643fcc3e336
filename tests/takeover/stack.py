"""Real servers, a real sweep, and index processes on folders of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from config.embedded import embedded_servers
from config.endpoints import read_endpoints
from config.settings import PREFIX, Settings, settings

ROOT = Path(__file__).resolve().parents[2]

#: One that works, and two standbys: so that one stands by while another is started again.
INDEX_PROCESSES = 3

#: How long a process may take to end, or to take part again.
PATIENCE_SECONDS = 60.0

#: The leases are short, so that many of them end in a run.
LEASE_SECONDS = 1.2

SETTINGS = {
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "LEASE_RENEWAL_SECONDS": "0.3",
    "SWEEP_SECONDS": "0.5",
    "LOG_FORMAT": "json",
}


class Process:
    """A process of the stack, started again on its folder when it has ended."""

    def __init__(self, name: str, command: str, data_dir: Path, log: Path) -> None:
        self.name = name
        self._command = command
        self._data_dir = data_dir
        self._log = log
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *self._command.removeprefix("exec ").split()],
                cwd=ROOT,
                env={**os.environ, f"{PREFIX}DATA_DIR": str(self._data_dir)},
                stdout=output,
                stderr=output,
            )

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def start_again(self) -> None:
        self._process = self._start()

    def end(self) -> None:
        if not self.has_ended():
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(15)


class Stack:
    """The processes; index processes that end are started again, as a supervisor does."""

    def __init__(self, folder: Path) -> None:
        lines = dict(
            line.split(": ", 1) for line in (ROOT / "Procfile").read_text("utf-8").splitlines()
        )
        self.others = [
            Process(name, lines[name], folder / "data", folder / f"{name}.log")
            for name in ("maintenance", "beat")
        ]
        self.index = [
            Process(
                f"index{number}",
                lines["index"].replace("-n index@", f"-n index{number}@"),
                folder / f"data-{number}",
                folder / f"index{number}.log",
            )
            for number in range(INDEX_PROCESSES)
        ]
        self.restarts = 0
        self._ending = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._supervisor.start()

    def _supervise(self) -> None:
        while not self._ending.wait(0.1):
            for process in self.index:
                if process.has_ended():
                    self.restarts += 1
                    process.start_again()

    def end(self) -> None:
        self._ending.set()
        self._supervisor.join()
        for process in (*self.index, *self.others):
            process.end()

    def index_process(self, pid: int) -> Process | None:
        return next((one for one in self.index if one.pid == pid), None)


@contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    """Run everything below a new folder, with the settings of it in the environment."""
    folder.mkdir(parents=True)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]  # of whatever runs this
    with embedded_servers(Settings(data_dir=folder / "servers")):
        found = read_endpoints(folder / "servers")
        assert found is not None
        os.environ |= {f"{PREFIX}{name}": value for name, value in SETTINGS.items()} | {
            f"{PREFIX}MONGO_URL": found.mongo_url,
            f"{PREFIX}REDIS_URL": found.redis_url,
            f"{PREFIX}DATA_DIR": str(folder / "data"),
        }
        settings.cache_clear()
        processes = Stack(folder)
        try:
            yield processes
        finally:
            processes.end()


def wait_until(holds: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)
