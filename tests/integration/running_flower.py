"""Flower of the Procfile, as it runs beside a test."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from cli.processes import ROOT
from config.embedded import free_port
from tests.integration.operations.programs import command, environment

START_SECONDS = 30.0


@contextmanager
def running_flower(folder: Path, /, **settings: str) -> Iterator[str]:
    """Run Flower with these settings, its log in `folder`, and give its address; it must end well.

    Raises AssertionError if it does not start.
    """
    port = free_port()
    log_file = folder / "flower.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command("flower"),
            cwd=ROOT,
            env=environment(folder, flower_port=str(port), **settings),
            stdout=log,
            stderr=log,
        )
    try:
        _await_start(process, url := f"http://127.0.0.1:{port}", log_file)
        yield url
    finally:
        process.terminate()
        code = process.wait(20)
    assert code == 0, log_file.read_text("utf-8")


def _await_start(process: subprocess.Popen[bytes], url: str, log_file: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log_file.read_text("utf-8")
        try:
            if requests.get(f"{url}/healthcheck", timeout=5).status_code in (200, 401):
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError("Flower did not start")
