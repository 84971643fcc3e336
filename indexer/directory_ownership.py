"""The lock by which one process owns the directory of an index, on one file system."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

#: Contains the process id of the owner. It is never removed, since a lock on a removed file is
#: void.
LOCK_FILE = "owner.lock"

#: Has an id that differs for every boot of a kernel, and is the same in all of its containers.
BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")


class IndexDirectoryOwned(Exception):
    """Another process owns the directory; `holder` is its process id, None if not written yet."""

    def __init__(self, directory: Path, holder: int | None) -> None:
        """Take the directory and the process id for the message."""
        self.directory = directory
        self.holder = holder
        name = "a process that is just starting" if holder is None else f"process {holder}"
        super().__init__(f"the index directory {directory} is owned by {name}")


class DirectoryOwnership:
    """An flock on a file in the directory, held until release or the end of the process.

    The kernel releases it however the process ends. A forked child shares it: while such a child
    lives, the directory stays owned even if the parent is gone.
    """

    def __init__(self, directory: Path) -> None:
        """Create the directory if it is missing, and lock it; raises IndexDirectoryOwned, OSError.

        The attribute `lock` identifies the locked file: no two live processes hold locks with
        the same name.
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
        # The id is only for messages, so a full disk is no fault.
        with suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock, in every process that shares it; call it only once."""
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
    """Return a name for an open file that is unique across machines."""
    status = os.fstat(file)
    try:
        machine = BOOT_FILE.read_text().strip()
    except OSError:
        machine = socket.gethostname()
    return f"{machine}/{status.st_dev}/{status.st_ino}"
