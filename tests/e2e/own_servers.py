"""Servers of a test's own, which it may kill and start again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from config.embedded import NX_OPTIONS, free_port, nx_command, valkey_command
from tests.e2e.stack import Stack

LISTEN_SECONDS = 30.0


class OwnServers:
    """An embedded Valkey and an embedded document database, always on the same ports."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str] | None = None) -> None:
        """`environment` is added to this process's own."""
        self._data_dir = data_dir
        self._environment = {**os.environ, **(environment or {})}
        self._ports = {"redis": free_port(), "mongo": free_port()}
        self._commands = {"redis": valkey_command, "mongo": nx_command}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.redis_url = f"redis://127.0.0.1:{self._ports['redis']}/0"
        self.mongo_url = f"mongodb://127.0.0.1:{self._ports['mongo']}/{NX_OPTIONS}"

    def start(self, *names: str) -> None:
        """Start those named, both if none is, and wait until they listen."""
        for name in names or self._commands:
            self._data_dir.mkdir(exist_ok=True)
            with (self._data_dir / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
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
            assert self.processes[name].poll() is None, (self._data_dir / f"{name}.log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._ports[name])) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{name} does not listen")

    def kill(self, *names: str) -> None:
        """kill -9 those named, both if none is."""
        for name in names or self._commands:
            self.processes[name].send_signal(signal.SIGKILL)
        for name in names or self._commands:
            self.processes[name].wait()

    def empty_redis(self) -> None:
        """Remove what a killed Redis left on disk."""
        shutil.rmtree(self._data_dir / "valkey")

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def kill_everything(stack: Stack, servers: OwnServers) -> None:
    """kill -9 of every process of the stack, children as well, and of both servers."""
    for member in [member for kind in stack.processes for member in stack.members(kind)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    servers.kill()
    for process in stack.processes.values():
        process.wait()
