"""SecantusDB, a second implementation of MongoDB's protocol: a witness for tests alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.embedded import server_port

START_SECONDS = 60.0
STOP_SECONDS = 20.0


@contextmanager
def secantusdb(folder: Path) -> Iterator[str]:
    """Run it with its data in a folder; yield its URL."""
    port = server_port()
    log = folder / "secantusdb.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "secantus", "--host", "127.0.0.1", "--port", str(port)),
                *("--storage-path", str(folder / "data"), "--cache-size", "256M"),
                *("--log-level", "WARNING"),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _await(process, port, log)
        yield f"mongodb://127.0.0.1:{port}/"
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text("utf-8")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"it does not listen: {log.read_text('utf-8')}")
