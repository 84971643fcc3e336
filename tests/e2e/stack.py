"""The real stack for the tests: every process of the Procfile, each of which can be killed."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import requests

from cli.processes import ROOT, procfile
from config.embedded import free_port

READY_SECONDS = 240.0
STOP_SECONDS = 120.0


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's environment with these settings and no others, and the commands in PATH."""
    return {
        **{name: value for name, value in os.environ.items() if "SNAPSKU" not in name},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **{f"SNAPSKU_{name.upper()}": value for name, value in settings.items()},
    }


def await_end(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for processes to end, children or not; return those that still live."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


class Stack:
    """The processes of the Procfile with settings of their own, and their logs in a folder."""

    def __init__(self, data_dir: Path, logs: Path, **settings: str) -> None:
        port = free_port()
        self.base_url = f"http://127.0.0.1:{port}"
        self.flower_url = f"http://127.0.0.1:{(flower_port := free_port())}"
        self._logs = logs
        self.environment = clean_environment(
            data_dir=str(data_dir), port=str(port), flower_port=str(flower_port), **settings
        )
        #: Besides, for the processes of one kind.
        self.environments: dict[str, dict[str, str]] = {}
        self.commands = procfile()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._orphans: list[psutil.Process] = []

    @property
    def kinds(self) -> list[str]:
        return list(self.commands)

    def start(self, *kinds: str) -> None:
        """Start processes of these kinds, all if none is named."""
        for kind in kinds or self.kinds:
            command = shlex.split(self.commands[kind].removeprefix("exec "))
            with (self._logs / f"{kind}.log").open("ab") as log:
                self.processes[kind] = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=self.environment | self.environments.get(kind, {}),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    def await_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until /readyz answers 200; fail with the log of a process that ended."""
        deadline = time.monotonic() + seconds
        answer = "no answer"
        while time.monotonic() < deadline:
            ended = [kind for kind, process in self.processes.items() if process.poll() is not None]
            assert not ended, f"{ended} ended: {self.log(ended[0])[-3000:]}"
            try:
                response = requests.get(f"{self.base_url}/readyz", timeout=5)
                answer = response.text
                if response.status_code == 200:
                    return
            except (requests.ConnectionError, requests.Timeout):
                pass
            time.sleep(0.2)
        raise AssertionError(f"not ready: {answer}")

    def kill(self, kind: str) -> list[psutil.Process]:
        """kill -9 the parent process alone, as a crash would; return the children it leaves."""
        process = self.processes[kind]
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        self._orphans.extend(children)
        return children

    def members(self, kind: str) -> list[psutil.Process]:
        """Return the processes of a kind that live now, the parent first."""
        try:
            parent = psutil.Process(self.processes[kind].pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill_all(self, kind: str) -> None:
        """kill -9 the parent and all of its children at once, as the end of a machine would."""
        for member in self.members(kind):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self.processes[kind].wait()

    @property
    def orphans(self) -> list[psutil.Process]:
        """The children that killed parents left, and that live on."""
        self._orphans = await_end(self._orphans, 0)
        return list(self._orphans)

    def log(self, kind: str) -> str:
        return (self._logs / f"{kind}.log").read_text(encoding="utf-8", errors="replace")

    def terminate(self) -> dict[str, int]:
        """SIGTERM every process; return the exit codes, -9 for one that had to be killed."""
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return {kind: process.returncode for kind, process in self.processes.items()}

    def stop(self) -> None:
        """Stop everything, and whatever a killed process left."""
        self.terminate()
        for orphan in await_end(self._orphans, 0.1):
            orphan.kill()


@contextlib.contextmanager
def running(stack: Stack, without: str = "") -> Iterator[Stack]:
    """Run every process of a stack but those of one kind, ready, as long as this lasts."""
    stack.start(*(kind for kind in stack.kinds if kind != without))
    try:
        stack.await_ready()
        yield stack
    finally:
        stack.stop()


@contextlib.contextmanager
def replaced(stack: Stack, kind: str, module: str) -> Iterator[None]:
    """Run a worker from a module of tests.e2e.standins instead, as long as this lasts."""
    environment, command = stack.environment, stack.commands[kind]
    folders = [str(ROOT), environment.get("PYTHONPATH", "")]
    stack.environment = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    stack.commands[kind] = command.replace(f"workers.{kind}", f"tests.e2e.standins.{module}")
    assert stack.commands[kind] != command
    try:
        _restart(stack, kind)
        yield
    finally:
        stack.environment, stack.commands[kind] = environment, command
        _restart(stack, kind)


def _restart(stack: Stack, kind: str) -> None:
    stack.processes[kind].terminate()
    stack.processes[kind].wait(STOP_SECONDS)
    stack.start(kind)
