"""The stack of a chaos run with servers of its own, each process of which can be hurt and healed.

Stands in for the supervisor of a real machine too: a process that ends by itself is
started again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import redis
from pymongo import MongoClient

from tests.e2e.own_servers import OwnServers
from tests.e2e.recovery.fake_clock import clocks_apart
from tests.e2e.stack import STOP_SECONDS, Stack

DATABASE = "snapsku_chaos"
REDIS, MONGO = "redis", "mongo"
SERVERS = (REDIS, MONGO)
#: A second index process, on a folder of its own.
SECOND_INDEX = "index-2"
#: Kinds whose parent has children that do the work.
POOLS = ("api", "vision", "search")

LEASE_SECONDS = 5.0
#: Times that a round can wait for, and limits that no bad luck of a round reaches.
SETTINGS = {
    "collections_per_user": "0",
    "fetch_allow": "127.0.0.1",
    "lease_seconds": str(LEASE_SECONDS),
    "lease_renewal_seconds": "1.5",
    "sweep_seconds": "1",
    "submission_seconds": "6",
    "recount_seconds": "3",
    "fetch_retry_seconds": "1",
    "fetch_passes": "5",
    "unclean_ends": "12",
    "probe_seconds": "1.5",
    "stalled_seconds": "4",
    "time_limit_seconds": "15",
    "visibility_seconds": "20",
    "snapshot_seconds": "3",
    "search_seconds": "6",
    "torch_threads": "1",
    "vision_niceness": "0",
    "log_format": "json",
}
SUPERVISE_SECONDS = 0.3
SERVER_START_SECONDS = 20.0


class Plant:
    """Every process of the service, by kind; "redis" and "mongo" are kinds as well."""

    def __init__(
        self,
        folder: Path,
        clocks_seconds: float = 0.0,
        seed: int = 0,
        sweeps: int = 1,
        **settings: str,
    ) -> None:
        """Data and logs go to `folder`; `settings` go before those of this module.

        The clock of each kind of process is off by up to `clocks_seconds`, as `seed` says; the
        servers keep true time. So many maintenance processes, each with a beat, do `sweeps` at
        once.
        """
        self.data_dir = folder / "data"
        self.second_data_dir = folder / "data-2"
        self.logs = folder / "logs"
        for path in (self.data_dir, self.logs):
            path.mkdir(parents=True)
        self._servers = OwnServers(self.data_dir)
        self.redis_url, self.mongo_url = self._servers.redis_url, self._servers.mongo_url
        self.stack = Stack(
            self.data_dir,
            self.logs,
            redis_url=self.redis_url,
            mongo_url=self.mongo_url,
            mongo_database=DATABASE,
            **{**SETTINGS, **settings},
        )
        self._add_kinds(sweeps)
        self.has_faked_clocks = clocks_seconds != 0
        if clocks_seconds:
            self.stack.environments = clocks_apart(self.stack.kinds, clocks_seconds, seed)
        second = self.stack.environments.setdefault(SECOND_INDEX, {})
        second["SNAPSKU_DATA_DIR"] = str(self.second_data_dir)
        self.fell: Counter[str] = Counter()  #: processes that ended by themselves
        self._guard = threading.RLock()
        self._down: set[str] = set()
        self._over = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def _add_kinds(self, sweeps: int) -> None:
        """Add the processes that the Procfile has once."""
        commands = self.stack.commands
        twice = [f"{kind}-{n}" for n in range(2, sweeps + 1) for kind in ("maintenance", "beat")]
        for kind in (*twice, SECOND_INDEX):
            first = kind.partition("-")[0]
            commands[kind] = commands[first].replace(f"-n {first}@", f"-n {kind}@")

    @property
    def kinds(self) -> list[str]:
        """Return what can be killed: processes of the stack, and servers."""
        return [*(kind for kind in self.stack.kinds if kind != SECOND_INDEX), *SERVERS]

    @property
    def has_second_index(self) -> bool:
        """Whether the second index process was started, and not stopped."""
        return SECOND_INDEX in self.stack.processes

    def start_second_index(self) -> None:
        """Start another index process, as a deploy or another machine does."""
        with self._guard:
            if not self.has_second_index:
                self._down.discard(SECOND_INDEX)
                self.stack.start(SECOND_INDEX)

    def stop_second_index(self) -> None:
        """Stop it gently."""
        with self._guard:
            self._down.add(SECOND_INDEX)
            process = self.stack.processes.pop(SECOND_INDEX)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def start(self) -> None:
        """Start everything, and wait until it is ready."""
        self._servers.start()
        self.await_servers()
        self.stack.start(*(kind for kind in self.kinds if kind not in SERVERS))
        self.stack.await_ready()
        self._supervisor.start()

    def await_servers(self) -> None:
        """Wait until both servers answer."""
        deadline = time.monotonic() + SERVER_START_SECONDS
        while True:
            try:
                with redis.Redis.from_url(self.redis_url) as client:
                    client.ping()
                with mongo_client(self.mongo_url) as catalogue:
                    catalogue.admin.command("ping")
                return
            except (redis.RedisError, OSError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def parts(self, kind: str) -> list[str]:
        """Return what of a kind can be hurt by itself."""
        return ["parent", "child", "all"] if kind in POOLS else ["all"]

    def kill(self, kind: str, part: str) -> bool:
        """kill -9; tell whether the kind has to be started again."""
        with self._guard:
            if part == "child":
                for child in self.members(kind)[1:][:1]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
                return False
            self._down.add(kind)
            if kind in SERVERS:
                self._servers.kill(kind)
            elif part == "parent":
                if self.stack.processes[kind].poll() is None:
                    self.stack.kill(kind)
            else:
                self.stack.kill_all(kind)
            return True

    def restart(self, kind: str, *, empty: bool = False) -> None:
        """Start a killed kind again; `empty` is for a Redis that lost everything."""
        with self._guard:
            if kind in SERVERS:
                if empty:
                    self._servers.empty_redis()
                self._servers.start(kind)
            else:
                self.stack.start(kind)
            self._down.discard(kind)

    def pause(self, kind: str, part: str) -> list[psutil.Process]:
        """SIGSTOP; return what was stopped."""
        members = self.members(kind)
        chosen = {"parent": members[:1], "child": members[1:2], "all": members}[part]
        stopped = []
        for member in chosen:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.suspend()
                stopped.append(member)
        return stopped

    def resume(self, stopped: list[psutil.Process]) -> None:
        """SIGCONT what was stopped and still lives."""
        for member in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.resume()

    def members(self, kind: str) -> list[psutil.Process]:
        """Return the processes of a kind, the parent first."""
        if kind not in SERVERS:
            return self.stack.members(kind)
        try:
            return [psutil.Process(self._servers.processes[kind].pid)]
        except psutil.NoSuchProcess:
            return []

    def memory(self) -> dict[str, int]:
        """Return the resident bytes of each kind."""
        sizes: Counter[str] = Counter()
        for kind in self.kinds:
            for member in self.members(kind):
                with contextlib.suppress(psutil.NoSuchProcess):
                    sizes[kind] += member.memory_info().rss
        return dict(sizes)

    def stop(self) -> dict[str, int]:
        """Stop everything gently; return the exit codes of the stack."""
        self._over.set()
        if self._supervisor.is_alive():
            self._supervisor.join()
        for kind in (*self.kinds, SECOND_INDEX):
            if kind in self._servers.processes or kind in self.stack.processes:
                self.resume(self.members(kind))
        codes = self.stack.terminate() if self.stack.processes else {}
        for orphan in self.stack.orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()
        self._servers.stop()
        return codes

    def _supervise(self) -> None:
        while not self._over.wait(SUPERVISE_SECONDS):
            with self._guard:
                running = {**self.stack.processes, **self._servers.processes}
                for kind, process in running.items():
                    if kind not in self._down and process.poll() is not None:
                        self.fell[kind] += 1
                        self.restart(kind)


def mongo_client(url: str) -> MongoClient[dict[str, Any]]:
    """Return a client that fails soon."""
    return MongoClient(url, serverSelectionTimeoutMS=5000, connectTimeoutMS=5000)


@contextlib.contextmanager
def running_plant(
    folder: Path, clocks_seconds: float = 0.0, seed: int = 0, sweeps: int = 1, **settings: str
) -> Iterator[Plant]:
    """Run everything while the block runs."""
    plant = Plant(folder, clocks_seconds, seed, sweeps, **settings)
    try:
        plant.start()
        yield plant
    finally:
        plant.stop()
