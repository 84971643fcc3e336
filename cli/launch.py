"""Becomes a program of the stack: what the supervisor starts, until it is the program itself.

Run as a file by a bare interpreter, so it needs the standard library alone. It knows no
setting and no kind of process. It does what supervisord has no setting for:

- Whoever's parent is killed is killed as well, by the kernel. A supervisor that was shot
  leaves nothing behind that a new one would meet. SIGKILL, since with their servers gone too
  there is no order in which the others could still end their work.
- A program that ended within seconds of its start is started again after a pause.
  supervisord pauses only after an end that it takes for a failed start, and then it starts
  again even what refuses for good.
- A server holds the data directory, so that no second one writes into the same files.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

#: A program that lived for less than this was not started in vain once, but may be for ever.
SHORT_LIFE_SECONDS = 10.0
PAUSE_SECONDS = 3.0

#: Of linux/prctl.h.
PR_SET_PDEATHSIG = 1


def die_with_parent(parent_file: Path) -> None:
    """Have the kernel kill this process with its parent, whose process id a file holds.

    Ends the process where that parent is gone already. Where the kernel is not Linux,
    a process outlives its parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent_file.read_text(encoding="utf-8")):
        sys.exit("the process that started this one has ended")


def pause_after_short_life(started: Path) -> None:
    """Wait if the start before was a moment ago, and note this start."""
    try:
        age = time.time() - started.stat().st_mtime
    except FileNotFoundError:
        age = SHORT_LIFE_SECONDS
    # Not where the clock was set back meanwhile.
    if 0 <= age < SHORT_LIFE_SECONDS:
        time.sleep(PAUSE_SECONDS)
    started.touch()


def hold(lock: Path) -> None:
    """Hold the data directory, as the process that `up` runs in does, until the program ends."""
    descriptor = os.open(lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os.set_inheritable(descriptor, True)


def main() -> None:
    """Do what the arguments say, and become the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parent", type=Path, required=True, help="holds the parent's process id")
    parser.add_argument("--started", type=Path, help="notes when the program was started")
    parser.add_argument("--hold", type=Path, help="the lock of the data directory")
    parser.add_argument("--leftover", type=Path, help="of a program that was killed: to be removed")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    die_with_parent(chosen.parent)
    if chosen.started is not None:
        pause_after_short_life(chosen.started)
    if chosen.hold is not None:
        hold(chosen.hold)
    if chosen.leftover is not None:
        chosen.leftover.unlink(missing_ok=True)
    os.execvp(chosen.command[0], chosen.command)  # noqa: S606


if __name__ == "__main__":
    main()
