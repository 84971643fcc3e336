"""Servers of a test's own, which it may kill and start again, and a stack that works on them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from pymongo import MongoClient
from stack import Stack

from config.embedded import NX_OPTIONS, free_port, nx_command, valkey_command

LISTEN_SECONDS = 30.0

#: Width and height of the picture that kills the worker of `deadly_vision`.
DEADLY_SIZE = (333, 222)


class OwnServers:
    """An embedded Valkey and an embedded document database, always on the same ports."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str] | None = None) -> None:
        """`environment` is added to this process's own."""
        self._data_dir = data_dir
        self._environment = {**os.environ, **(environment or {})}
        self._ports = {"redis": free_port(), "mongo": free_port()}
        self._commands = {"redis": valkey_command, "mongo": nx_command}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.redis_url = f"redis://127.0.0.1:{self._ports['redis']}/0"
        self.mongo_url = f"mongodb://127.0.0.1:{self._ports['mongo']}/{NX_OPTIONS}"

    def start(self, *names: str) -> None:
        """Start those named, both if none is, and wait until they listen."""
        for name in names or self._commands:
            self._data_dir.mkdir(exist_ok=True)
            with (self._data_dir / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    self._commands[name](self._data_dir, self._ports[name]),
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        for name in names or self._commands:
            self._await(name)

    def _await(self, name: str) -> None:
        deadline = time.monotonic() + LISTEN_SECONDS
        while time.monotonic() < deadline:
            assert self._running[name].poll() is None, (self._data_dir / f"{name}.log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._ports[name])) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{name} does not listen")

    def kill(self, *names: str) -> None:
        """kill -9 those named, both if none is."""
        for name in names or self._commands:
            self._running[name].send_signal(signal.SIGKILL)
        for name in names or self._commands:
            self._running[name].wait()

    def empty_redis(self) -> None:
        """Remove what a killed Redis left on disk."""
        shutil.rmtree(self._data_dir / "valkey")

    def stop(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


def kill_everything(stack: Stack, servers: OwnServers) -> None:
    """kill -9 of every process of the stack, children as well, and of both servers."""
    family = [
        member
        for process in stack.processes.values()
        for member in (psutil.Process(process.pid), *psutil.Process(process.pid).children(True))
    ]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    servers.kill()
    for process in stack.processes.values():
        process.wait()


class Embedded:
    """Which images the vision worker embedded, from its log lines in JSON."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._before = len(stack.log("vision"))

    def times(self) -> Counter[int]:
        """How often each label was embedded since this object was made."""
        counted: Counter[int] = Counter()
        for line in self._stack.log("vision")[self._before :].splitlines():
            # A kill may cut a line short.
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") == "embedded":
                    counted.update(entry["labels"])
        return counted

    def twice(self) -> int:
        return sum(count - 1 for count in self.times().values())


class Rows:
    """The rows of the stack's database."""

    def __init__(self, client: MongoClient[dict[str, Any]], name: str) -> None:
        self._rows, self._blobs = client[name], client[f"{name}_blobs"]

    def chunks(self, task_id: str) -> list[dict[str, Any]]:
        task = self._rows["tasks"].find_one({"_id": task_id})
        assert task is not None
        return list(self._rows["chunks"].find({"_id": {"$in": task["chunk_ids"]}}))

    def states(self, task_id: str) -> set[tuple[str, str]]:
        return {(row["stage"], row["state"]) for row in self.chunks(task_id)}

    def vectors(self) -> set[int]:
        """The labels of every vector that is written."""
        return {row["_id"] for row in self._blobs["vectors"].find({}, ["_id"])}

    def outcomes(self, labels: Collection[int]) -> list[str | None]:
        found = self._rows["images"].find({"_id": {"$in": list(labels)}}, ["outcome"])
        return [row["outcome"] for row in found]

    def await_work(self, task_id: str, stage: str, seconds: float = 30) -> None:
        """Wait until a chunk of the task is in the middle of this stage."""
        deadline = time.monotonic() + seconds
        while (stage, "running") not in self.states(task_id):
            assert time.monotonic() < deadline, self.states(task_id)
            time.sleep(0.005)

    def await_vectors(self, count: int, seconds: float = 60) -> None:
        """Wait until so many vectors are written in all."""
        deadline = time.monotonic() + seconds
        while len(self.vectors()) < count:
            assert time.monotonic() < deadline, len(self.vectors())
            time.sleep(0.02)


@contextlib.contextmanager
def replaced(stack: Stack, kind: str, module: str) -> Iterator[None]:
    """Run a worker from a module of this folder instead, as long as this lasts."""
    environment, command = stack.environment, stack.commands[kind]
    folders = [str(Path(__file__).parent), environment.get("PYTHONPATH", "")]
    stack.environment = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    stack.commands[kind] = command.replace(f"workers.{kind}", module)
    assert stack.commands[kind] != command
    try:
        _restart(stack, kind)
        yield
    finally:
        stack.environment, stack.commands[kind] = environment, command
        _restart(stack, kind)


def _restart(stack: Stack, kind: str) -> None:
    stack.processes[kind].terminate()
    stack.processes[kind].wait(40)
    stack.start(kind)
