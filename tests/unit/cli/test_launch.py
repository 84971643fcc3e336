"""What happens between the supervisor and the program that it starts."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cli.launch import PAUSE_SECONDS, pause_after_short_life
from cli.processes import ROOT, launched

Launch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def parent_file(tmp_path: Path) -> Path:
    file = tmp_path / "parent.pid"
    file.write_text(str(os.getpid()))
    return file


@pytest.fixture
def launch(parent_file: Path) -> Launch:
    """Return a function that runs a program by way of the launcher."""

    def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            launched([sys.executable, "-c", program], parent_file, *options),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


def test_the_process_becomes_the_program_and_ends_with_its_code(
    parent_file: Path, tmp_path: Path
) -> None:
    program = "import os, sys; print(os.getpid(), *sys.argv[1:]); sys.exit(78)"
    started = subprocess.Popen(
        launched([sys.executable, "-c", program, "--hold", "x y"], parent_file),
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = started.communicate(timeout=30)
    assert output.split(maxsplit=1) == [str(started.pid), "--hold x y\n"]
    assert started.returncode == 78


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_process_is_killed_with_its_parent(tmp_path: Path) -> None:
    """The parent is a Python that writes its id, launches a sleep and waits."""
    parent = (
        "import os, pathlib, subprocess, sys\n"
        "file = pathlib.Path(sys.argv[1]); file.write_text(str(os.getpid()))\n"
        "from cli.processes import launched\n"
        "child = subprocess.Popen(launched(['sleep', '60'], file), stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True); child.wait()\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", parent, str(tmp_path / "pid")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    child = psutil.Process(int(running.stdout.readline()))
    deadline = time.monotonic() + 20
    while child.name() != "sleep":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    try:
        child.wait(5)
    except psutil.TimeoutExpired:
        child.kill()
        pytest.fail("the child outlived its parent")


def test_a_process_whose_parent_has_ended_already_does_not_become_the_program(
    launch: Launch, parent_file: Path
) -> None:
    parent_file.write_text("1")
    ended = launch("print('started')")
    assert (ended.returncode, ended.stdout) == (1, "")


def test_a_program_that_ended_soon_after_its_start_is_started_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    started = tmp_path / "one.started"
    pause_after_short_life(started)
    assert pauses == []
    pause_after_short_life(started)
    assert pauses == [PAUSE_SECONDS]
    pause_after_short_life(started)
    assert pauses == [PAUSE_SECONDS] * 2


@pytest.mark.parametrize("age", [600, -600])
def test_a_program_that_lived_or_whose_clock_was_set_back_is_started_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: int
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("paused"))
    started = tmp_path / "one.started"
    started.touch()
    os.utime(started, (time.time() - age, time.time() - age))
    pause_after_short_life(started)
    assert abs(started.stat().st_mtime - time.time()) < 50


def test_a_server_holds_the_data_directory_until_it_ends(parent_file: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    server = subprocess.Popen(
        launched(["sh", "-c", "echo; exec sleep 60"], parent_file, "--hold", str(lock)),
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        server.kill()
        server.communicate()
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_a_killed_predecessor_left_is_removed_first(launch: Launch, tmp_path: Path) -> None:
    leftover = tmp_path / "nx.pid"
    program = f"import pathlib; print(pathlib.Path({str(leftover)!r}).exists())"
    for _ in range(2):
        assert launch(program, "--leftover", str(leftover)).stdout == "False\n"
        leftover.write_text("1")
