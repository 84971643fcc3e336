"""Starts the service as a subprocess, waits until it is ready, and stops it again.

Knows the command, the settings that it passes on and /readyz; nothing of the API. It ends only
what it started.
"""

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
#: The project's root: where the command's modules are found.
ROOT = Path(__file__).resolve().parents[2]
#: Seconds that the stack has to become ready, and to stop.
READY_SECONDS = 180.0
STOP_SECONDS = 45.0
TAIL_LINES = 40


class StackError(Exception):
    """The stack did not become ready, or did not stop."""


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports of 127.0.0.1 that are free now."""
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
    """One running stack; its output goes to `log`."""

    def __init__(
        self, environment: Mapping[str, str], log: Path, *, command: Sequence[str] = COMMAND
    ) -> None:
        """Start `command` with this process's environment and `environment` on top."""
        self._log = log
        with log.open("wb") as output:
            # A session of its own keeps the terminal's Ctrl-C away from the stack: the demo
            # stops it in order, once.
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
        """Wait until GET `url` answers 200; give the seconds it took.

        Raises StackError where the process ends first or the time is over.
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
        """Ask the stack to stop and wait for it; nothing happens where it has ended already.

        Raises StackError where it had to be killed.
        """
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            # The group is the session that was made for it, so no other process is in it.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise StackError(f"the stack did not stop in {seconds:g} s and was killed") from error
