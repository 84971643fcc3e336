"""Starting the service as a subprocess, waiting until it is ready, and stopping it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

HOST = "127.0.0.1"
COMMAND = (sys.executable, "-m", "cli.main", "up")
#: The root of the project, from which the command's modules are imported.
ROOT = Path(__file__).resolve().parents[2]
#: Seconds for the stack to become ready, and to stop.
READY_SECONDS = 180.0
STOP_SECONDS = 45.0
TAIL_LINES = 40


class StackError(Exception):
    """The stack did not become ready, or did not stop."""


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports of 127.0.0.1 that are free at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def settings(data_dir: Path, port: int, flower_port: int, file_port: int) -> dict[str, str]:
    """Return the settings of the demo's own stack, as environment variables."""
    return {
        "SNAPSKU_DATA_DIR": str(data_dir),
        "SNAPSKU_PORT": str(port),
        "SNAPSKU_FLOWER_PORT": str(flower_port),
        "SNAPSKU_FETCH_ALLOW": f"{HOST}:{file_port}",
    }


class Stack:
    """A running stack, whose output goes to a log file."""

    def __init__(
        self, environment: Mapping[str, str], log: Path, *, command: Sequence[str] = COMMAND
    ) -> None:
        """Start `command` with this process's environment, updated by `environment`."""
        self._log = log
        with log.open("wb") as output:
            # In a session of its own the stack gets no Ctrl-C of the terminal: the demo stops it
            # once, in order.
            self._process = subprocess.Popen(  # noqa: S603
                list(command),
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, url: str, *, seconds: float = READY_SECONDS) -> float:
        """Wait until GET `url` answers 200, and return the seconds that took.

        Raises StackError if the process ends first, or after `seconds`.
        """
        started = time.monotonic()
        last = "no answer"
        with requests.Session() as session:
            session.trust_env = False
            while time.monotonic() - started < seconds:
                status = self._process.poll()
                if status is not None:
                    raise StackError(f"the stack ended with status {status} before it was ready")
                try:
                    last = f"HTTP {session.get(url, timeout=5).status_code}"
                except requests.RequestException as error:
                    last = type(error).__name__
                if last == "HTTP 200":
                    return time.monotonic() - started
                time.sleep(0.25)
        raise StackError(f"the stack was not ready after {seconds:g} s (last: {last})")

    def tail(self, lines: int = TAIL_LINES) -> str:
        """Return the last `lines` lines of the stack's output."""
        text = self._log.read_text("utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self, *, seconds: float = STOP_SECONDS) -> None:
        """Stop the stack by SIGTERM and wait for it; do nothing if it has ended.

        Raises StackError if it had to be killed after `seconds`.
        """
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            # The group is that of its own session, so no other process is in it.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise StackError(f"the stack did not stop in {seconds:g} s and was killed") from error
