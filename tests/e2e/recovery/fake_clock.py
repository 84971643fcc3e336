"""Processes whose wall clock is not that of this machine, by libfaketime."""

from __future__ import annotations

import random
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path


def faked(**how: str) -> dict[str, str]:
    """Return the environment of a process whose wall clock, and nothing else, is faked."""
    package = find_spec("libfaketime")
    assert package is not None, "pip install -e .[dev] brings it"
    assert package.origin is not None
    library = Path(package.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    assert library.is_file(), "libfaketime has another layout"
    # A clock that is set leaves the steady ones alone.
    return {"LD_PRELOAD": str(library), "DONT_FAKE_MONOTONIC": "1", **how}


def clock_off(seconds: float) -> dict[str, str]:
    """Return the environment of a process whose clock is so many seconds ahead for all its life."""
    return faked(FAKETIME=f"{seconds:+.3f}")


def clocks_apart(kinds: Iterable[str], seconds: float, seed: int) -> dict[str, dict[str, str]]:
    """Return an environment for each kind of process, by chance, none over `seconds` off."""
    chance = random.Random(f"clocks {seed}")
    return {kind: clock_off(chance.uniform(-seconds, seconds)) for kind in kinds}


class FakeClock:
    """The wall clock of processes that are started with this environment; they read it anew."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._offset = 0
        self._write()
        self.environment = faked(FAKETIME_TIMESTAMP_FILE=str(self._file), FAKETIME_NO_CACHE="1")

    def jump(self, seconds: int) -> None:
        """Move the wall clock of all processes on at once; the seconds may be negative."""
        self._offset += seconds
        self._write()

    def _write(self) -> None:
        # Renamed into place: no process may read half of it.
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._offset:+d}\n", encoding="ascii")
        new.replace(self._file)
