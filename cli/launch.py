"""Prepare this process and replace it by a program of the stack; supervisord starts this file.

A bare interpreter runs it, so it imports the standard library alone. It does what supervisord has
no setting for:

- The kernel kills the program when its parent is killed, so a killed supervisor leaves no process
  that its successor would collide with. By SIGKILL: the servers die too, so no order of stopping
  could still save work.
- A program that ended within seconds of its start is started again after a pause. supervisord
  pauses only after an end that it counts as a failed start, and then it restarts even a program
  that refuses for good.
- A server holds the lock of the data directory, so that no second one writes into its files.
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

#: Shorter runs count as a crash loop and delay the next start.
SHORT_LIFE_SECONDS = 10.0
#: The delay of a start after a shorter run.
PAUSE_SECONDS = 3.0

#: From linux/prctl.h.
PR_SET_PDEATHSIG = 1


def die_with_parent(parent_file: Path) -> None:
    """Have the kernel kill this process when its parent dies.

    `parent_file` contains the parent's process id; the process exits if that parent is gone
    already. Only Linux can do this: elsewhere a process outlives its parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent_file.read_text(encoding="utf-8")):
        sys.exit("the process that started this one has ended")


def pause_after_short_life(started: Path) -> None:
    """Sleep PAUSE_SECONDS if the last start was less than SHORT_LIFE_SECONDS ago.

    The modification time of `started` is that of the last start; it is updated.
    """
    try:
        age = time.time() - started.stat().st_mtime
    except FileNotFoundError:
        age = SHORT_LIFE_SECONDS
    # A negative age means that the clock was set back.
    if 0 <= age < SHORT_LIFE_SECONDS:
        time.sleep(PAUSE_SECONDS)
    started.touch()


def hold(lock: Path) -> None:
    """Hold a shared lock of the data directory until the program ends, as `snapsku up` does."""
    descriptor = os.open(lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os.set_inheritable(descriptor, True)


def main() -> None:
    """Prepare the process as the arguments say, and replace it by the program."""
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
