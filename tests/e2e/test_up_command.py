"""`snapsku up`: one command starts everything, and one signal stops everything."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from stack import READY_SECONDS, await_end, clean_environment

from cli.processes import ROOT
from config.embedded import free_port

STOP_SECONDS = 40.0
UP = (sys.executable, "-m", "cli.main", "up")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str], str]]:
    """The running command, its environment, and where its API listens."""
    port = free_port()
    environment = clean_environment(
        data_dir=str(tmp_path / "data"), port=str(port), flower_port=str(free_port())
    )
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            UP, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    yield process, environment, f"http://127.0.0.1:{port}"
    if process.poll() is None:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
        for member in family:
            member.kill()
        process.wait()


def _await_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the command ended before it was ready"
        try:
            if requests.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise AssertionError("not ready")


def test_up_starts_the_whole_stack_refuses_a_second_one_and_stops_on_a_signal(
    up: tuple[subprocess.Popen[bytes], dict[str, str], str], tmp_path: Path
) -> None:
    process, environment, url = up
    _await_ready(process, url)
    log = (tmp_path / "up.log").read_text("utf-8", errors="replace")
    assert "Traceback" not in log

    second = subprocess.run(
        UP, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert second.returncode == 1
    assert second.stdout == ""
    lines = second.stderr.strip().splitlines()
    assert len(lines) == 1, second.stderr
    assert "in use by another running stack" in lines[0]
    assert requests.get(f"{url}/readyz", timeout=5).status_code == 200

    family = psutil.Process(process.pid).children(recursive=True)
    names = {" ".join(member.cmdline()) for member in family}
    assert any("valkey-server" in name for name in names)
    assert any("nx-27017" in name for name in names)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(STOP_SECONDS)
    assert time.monotonic() - started < STOP_SECONDS
    assert await_end(family, 1) == []
    # A signal that was asked for is no failure: 0, or 128 and the number of SIGTERM.
    assert process.returncode in (0, 128 + signal.SIGTERM)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/healthz", timeout=5)
