"""What `snapsku up` does with the output of its processes, and with odd surroundings."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli import preflight, processes
from config.embedded import free_port
from config.settings import Settings, SettingsError


class Disk:
    """An output that fails with each of `faults` in turn, 0 for none, and then takes all."""

    def __init__(self, *faults: int) -> None:
        self._faults = list(faults)
        self.written: list[bytes] = []

    def write(self, some: bytes) -> None:
        fault = self._faults.pop(0) if self._faults else 0
        if fault:
            raise OSError(fault, os.strerror(fault))
        self.written.append(some)

    def flush(self) -> None:
        pass


def handed_on(patch: pytest.MonkeyPatch, disk: Disk) -> list[bytes]:
    """What of three lines, each read for itself, is written to the disk."""
    lines = [b"one", b"two", b"three", b""]
    patch.setattr(os, "read", lambda *_: lines.pop(0))
    patch.setattr(sys, "stdout", SimpleNamespace(buffer=disk))
    processes._hand_on(SimpleNamespace(fileno=lambda: 0))  # type: ignore[arg-type]
    assert lines == [], "the processes would be blocked"
    return disk.written


def test_the_log_goes_on_when_a_full_disk_has_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert handed_on(monkeypatch, Disk(errno.ENOSPC)) == [b"two", b"three"]


def test_a_terminal_that_was_closed_is_written_to_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert handed_on(monkeypatch, Disk(errno.EIO)) == []


def test_without_a_path_programs_of_this_python_are_found(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("PATH")
    found = processes._environment()["PATH"].split(os.pathsep)
    assert found[0] == str(Path(sys.executable).parent)


@pytest.mark.parametrize("entry", ["run", "nx", "valkey"])
def test_a_file_in_place_of_a_folder_is_told_and_nothing_is_started(
    environment: pytest.MonkeyPatch, tmp_path: Path, entry: str
) -> None:
    environment.setattr(preflight, "require", lambda *_: None)
    environment.setenv("PATH", "/nowhere")
    (tmp_path / entry).touch()
    chosen = Settings(data_dir=tmp_path, port=free_port(), flower_port=free_port())
    with pytest.raises(SettingsError, match=rf"{entry} can't be used .*; remove it, or set"):
        processes.run_stack(chosen, {})
