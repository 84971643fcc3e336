"""One owner for the directory of an index, among the processes that share its file system."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

LOCK_FILE = "owner.lock"
"""Holds the process id of the owner. It is never removed: a lock on a removed file guards none."""

BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")
"""Another text for every start of a kernel; the same in all containers on it."""


class IndexDirectoryOwned(Exception):
    """Another process owns the directory; `holder` is its id, None if not written yet."""

    def __init__(self, directory: Path, holder: int | None) -> None:
        """Name the directory and its holder in the message."""
        self.directory = directory
        self.holder = holder
        name = "a process that is just starting" if holder is None else f"process {holder}"
        super().__init__(f"the index directory {directory} is owned by {name}")


class DirectoryOwnership:
    """An flock on a file in the directory, held until release or the end of the process.

    The kernel lets go of it however the process ends. A forked child shares it:
    while such a child lives, the directory stays owned though the parent is gone.
    """

    def __init__(self, directory: Path) -> None:
        """Take the directory, made if it is not there; raises IndexDirectoryOwned, OSError.

        `lock` names the locked file: of two processes that live and have the same name for
        theirs, one does not hold it.
        """
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._file = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            written = os.pread(self._file, 32, 0).strip()
            os.close(self._file)
            raise IndexDirectoryOwned(
                directory, int(written) if written.isdigit() else None
            ) from error
        except BaseException:
            os.close(self._file)
            raise
        self.lock = _name(self._file)
        # The id is for people. The lock is what counts, on a full disk too.
        with suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Return the directory free, in every process that shares the lock. Once only."""
        fcntl.flock(self._file, fcntl.LOCK_UN)
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _name(file: int) -> str:
    """Return a name of an open file that no other file has, on this machine or another."""
    status = os.fstat(file)
    try:
        machine = BOOT_FILE.read_text().strip()
    except OSError:
        machine = socket.gethostname()
    return f"{machine}/{status.st_dev}/{status.st_ino}"
