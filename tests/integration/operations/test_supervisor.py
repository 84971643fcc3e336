"""supervisord itself with programs that end in every way, on the configuration that `up` makes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.launch import PAUSE_SECONDS
from cli.processes import SERVERS, Program, configuration, launched, supervisor_command
from config.refusal import REFUSED


class Supervised:
    """Shell programs under supervisord; each start and whatever they note is a line of a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes = folder / "notes"
        self._notes.touch()
        self._times = folder / "times"
        self._process: subprocess.Popen[str] | None = None

    def program(self, name: str, script: str, group: str = "processes") -> Program:
        note = f'note() {{ date +%s.%N >> {self._times}; echo "{name} $1" >> {self._notes}; }}; '
        note += "note started; "
        return Program(name, ["sh", "-c", note + script], group)

    def start(self, *programs: Program) -> None:
        file = self._folder / "supervisord.conf"
        file.write_text(configuration(programs, self._folder), encoding="utf-8")
        parent = self._folder / "parent.pid"
        parent.write_text(str(os.getpid()))
        self._process = subprocess.Popen(
            launched(supervisor_command(file), parent),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )

    def notes(self) -> list[str]:
        return self._notes.read_text().splitlines()

    def times(self) -> list[float]:
        """Return when each note was made, in seconds, by the programs' own clock."""
        return [float(line) for line in self._times.read_text().split()]

    def await_notes(self, is_there: Callable[[list[str]], bool], seconds: float = 60.0) -> None:
        """Wait for lines."""
        deadline = time.monotonic() + seconds
        while not is_there(self.notes()):
            assert time.monotonic() < deadline, self.notes()
            time.sleep(0.02)

    def stop(self) -> tuple[int, str]:
        """Return its exit code and all that it wrote."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        output, _ = self._process.communicate(timeout=45)
        return self._process.returncode, output


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    found = Supervised(tmp_path)
    yield found
    found.stop()


def test_a_process_that_refuses_stays_down_and_one_that_fails_or_ends_comes_back(
    supervised: Supervised,
) -> None:
    supervised.start(
        supervised.program("refuses", f"exit {REFUSED}"),
        supervised.program("fails", "exit 1"),
        supervised.program("ends", "exit 0"),
        supervised.program("killed", "kill -9 $$"),
    )
    supervised.await_notes(
        lambda notes: all(notes.count(f"{n} started") > 1 for n in ("fails", "ends", "killed"))
    )
    assert supervised.notes().count("refuses started") == 1
    code, output = supervised.stop()
    assert code == 0
    assert f"exited: refuses (exit status {REFUSED}; expected)" in output
    assert "exited: killed (terminated by SIGKILL; not expected)" in output


def test_what_fails_at_once_is_started_again_after_a_pause(supervised: Supervised) -> None:
    supervised.start(supervised.program("fails", "exit 1"))
    supervised.await_notes(lambda notes: len(notes) == 2)
    first, second = supervised.times()[:2]
    assert second - first >= PAUSE_SECONDS - 0.5


def test_processes_end_their_work_at_once_and_then_the_servers_stop(
    supervised: Supervised,
) -> None:
    ends_at_once = "trap 'note stopped; exit' TERM; note waits; while :; do sleep 0.05; done"
    ends_slowly = ends_at_once.replace("note stopped", "sleep 1; note stopped")
    supervised.start(
        supervised.program("server", ends_at_once, SERVERS),
        supervised.program("one", ends_slowly),
        supervised.program("two", ends_slowly),
    )
    supervised.await_notes(lambda notes: sum("waits" in note for note in notes) == 3)
    assert supervised.stop()[0] == 0
    assert set(supervised.notes()[6:8]) == {"one stopped", "two stopped"}
    assert supervised.notes()[8:] == ["server stopped"]


def test_what_programs_write_is_written_on(supervised: Supervised) -> None:
    supervised.start(
        supervised.program("speaks", "echo to-output; echo to-errors >&2; note said; sleep 60")
    )
    supervised.await_notes(lambda notes: "speaks said" in notes)
    _, output = supervised.stop()
    assert {"to-output", "to-errors"} <= set(output.splitlines())
