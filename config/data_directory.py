"""The data directory: whether it can be used, and the lock that gives it to one stack."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.settings import SettingsError

#: With less free disk, embedded servers may end in the middle of a write.
LEAST_FREE_BYTES = 64 * 2**20

#: What processes and embedded servers make in the data directory.
ENTRIES = ("flower.password", "index", "lock", "nx", "redis", "run", "secret.key", "valkey")


class DataDirectoryInUseError(SettingsError):
    """Another stack runs on the data directory."""


def require_usable(data_dir: Path) -> None:
    """Make the data directory if it is missing, and check that this process can work in it.

    Raises SettingsError, with one line, if it is no folder, belongs to another user, can't be
    written, or has less than LEAST_FREE_BYTES free.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise SettingsError(f"{data_dir} is a file; name a folder in SNAPSKU_DATA_DIR") from error
    except OSError as error:
        raise SettingsError(
            f"{data_dir} can't be made ({error.strerror}); make it and give it to "
            f"{_user(os.geteuid())}, or set SNAPSKU_DATA_DIR"
        ) from error
    _require_owner(data_dir)
    try:
        with tempfile.TemporaryFile(dir=data_dir) as file:
            file.write(b"written")
            file.flush()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(data_dir) from error
        what_to_do = (
            "mount it for writing"
            if error.errno == errno.EROFS
            else f"give it to {_user(os.geteuid())}"
        )
        raise SettingsError(
            f"{data_dir} can't be written ({error.strerror}); {what_to_do}, or set SNAPSKU_DATA_DIR"
        ) from error
    if shutil.disk_usage(data_dir).free < LEAST_FREE_BYTES:
        raise _disk_full(data_dir)


def _require_owner(data_dir: Path) -> None:
    """Raise SettingsError if what is in the folder belongs to another user than this process's."""
    mine = os.geteuid()
    entries = [data_dir / name for name in ENTRIES]
    within = [path for entry in entries if entry.is_dir() for path in _listed(entry)]
    for path in (data_dir, *entries, *within):
        try:
            owner = path.stat().st_uid
        except OSError:  # it is not there yet, or the folder that holds it was refused already
            continue
        if owner == mine:
            continue
        if mine == 0:
            # Root can write everywhere, but what it makes here, the owner could not write.
            raise SettingsError(f"{path} belongs to {_user(owner)}; run this as that user")
        if not os.access(path, os.R_OK | os.W_OK):
            raise SettingsError(
                f"{path} belongs to {_user(owner)}; run this as that user, or "
                f"`chown -R {_user(mine)} {data_dir}`"
            )


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []  # its own owner is told


def _disk_full(data_dir: Path) -> SettingsError:
    return SettingsError(
        f"the disk of {data_dir} is full; make room, or move it and set SNAPSKU_DATA_DIR"
    )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def stack_id(data_dir: Path) -> str:
    """Return 8 hex digits that name the stack of a data directory on this machine."""
    place = f"{socket.gethostname()}:{data_dir.resolve()}"
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def lock_file(data_dir: Path) -> Path:
    """Return the file that a stack and each of its servers lock while they use the data directory.

    It contains the process id of the first one.
    """
    return data_dir / "lock"


@contextmanager
def owned(data_dir: Path) -> Iterator[int]:
    """Lock an unused data directory while the context lasts; yield the descriptor of the lock.

    Raises DataDirectoryInUseError if a stack, or a server that outlived its stack, holds the lock,
    and SettingsError as `require_usable` does.
    """
    require_usable(data_dir)
    try:
        descriptor = os.open(lock_file(data_dir), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(
            f"{lock_file(data_dir)} can't be opened ({error.strerror}); remove it"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        # Shared from now on: the servers hold it too.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace")
        os.close(descriptor)
        raise DataDirectoryInUseError(_in_use(data_dir, holder)) from error
    except OSError as error:
        os.close(descriptor)
        raise SettingsError(
            f"{data_dir} can't be locked ({error.strerror}); use a local disk, not a network's"
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _in_use(data_dir: Path, holder: str) -> str:
    if holder.isdecimal() and not _runs(int(holder)):
        return (
            f"{data_dir} is in use by a server of a stack that was killed (process {holder}); "
            f"`fuser {lock_file(data_dir)}` names it: end it"
        )
    return (
        f"{data_dir} is in use by another running stack (process {holder or 'unknown'}); stop it, "
        "or set SNAPSKU_DATA_DIR to another folder"
    )


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs, as another user
    return True
