"""Saving a shard to a file in a forked child, while this process keeps working.

hnswlib holds the interpreter lock while it saves, and reports no fault of the disk. So a child,
which has a copy of the memory, saves it, and the file is checked afterwards.
"""

from __future__ import annotations

import gc
import hashlib
import os
import select
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from indexer.hnsw.snapshots.manifest import ShardRecord
from indexer.hnsw.snapshots.whole_file import SUFFIX

if TYPE_CHECKING:
    from indexer.hnsw.shard import FrozenShard, Shard

#: The niceness added to the child, so that searches take precedence.
NICENESS = 10

#: Signals that the child ignores, so that stopping the process group does not abort a snapshot.
IGNORED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

#: The time that the child may take for the smallest shard.
LEAST_SECONDS = 10.0

#: The slowest disk on which a large shard can be saved. The time is limited since a child may hang
#: for ever, on a lock of a library that another thread held at the fork, and nothing else is
#: saved or compacted meanwhile.
SLOWEST_BYTES_PER_SECOND = 2e6

#: Bytes written to find out from the disk's error why a file is incomplete.
LARGEST_TRIAL = 2**20


class SnapshotError(Exception):
    """A snapshot could not be written; the previous one is still valid."""


def save_shard(shard: Shard, path: Path, seconds: float) -> tuple[int, ShardRecord]:
    """Save a shard as `path`; return its count of changes at that moment, and the record.

    The file is complete and on disk on return. Raises SnapshotError, with no file left, if saving
    fails, takes more than `seconds`, or more than the size of the shard allows.
    """
    part = path.with_name(path.name + SUFFIX)
    started = time.monotonic()
    try:
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as answer:
            try:
                with shard.frozen() as frozen:
                    child = os.fork()
                    if child == 0:
                        _save_and_exit(frozen, part, writer)
            finally:
                os.close(writer)
            allowed = LEAST_SECONDS + frozen.file_size / SLOWEST_BYTES_PER_SECOND
            said = _await(child, answer, started + min(seconds, allowed))
        record = ShardRecord(path.name, frozen.file_size, said, frozen.live, frozen.deleted)
        check_file(part, record)
        part.rename(path)
    except OSError as error:
        raise SnapshotError(str(error)) from error
    finally:
        part.unlink(missing_ok=True)
    return frozen.changes, record


def check_file(path: Path, record: ShardRecord) -> None:
    """Check that a file has the size and the SHA-256 of its record.

    Raises SnapshotError if it has not, and OSError.
    """
    size = path.stat().st_size
    if size != record.size:
        raise SnapshotError(f"{path.name} has {size} bytes, not {record.size}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
            raise SnapshotError(f"{path.name} has a wrong checksum")


def read_file(path: Path, record: ShardRecord) -> bytes:
    """Return the bytes of a file after checking size and SHA-256 against its record.

    Raises SnapshotError if they differ, and OSError.
    """
    with path.open("rb") as file:
        data = file.read(record.size + 1)
    if len(data) != record.size:
        raise SnapshotError(f"{path.name} has {path.stat().st_size} bytes, not {record.size}")
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise SnapshotError(f"{path.name} has a wrong checksum")
    return data


def _save_and_exit(frozen: FrozenShard, path: Path, writer: int) -> NoReturn:
    """Do the work of the child, and end it.

    Only this thread exists in the child, so locks that other threads held stay locked for ever:
    the child must not log, and cleans up nothing of the parent's.
    """
    try:
        gc.disable()
        for number in IGNORED_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        # The parent's sockets and its lock on the directory must close when the parent ends.
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
        os.nice(NICENESS)
        os.write(writer, _write(frozen, path).encode())
        os._exit(0)
    except OSError as error:
        os.write(writer, (error.strerror or str(error)).encode())
    finally:
        os._exit(1)


def _write(frozen: FrozenShard, path: Path) -> str:
    """Write the file, sync it to disk, and return its SHA-256 in hex; raises OSError.

    hnswlib does not report a file that it can't open or write, so if the file is too short, more
    bytes are written to get the disk's error.
    """
    path.touch()
    frozen.save(path)
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size < frozen.file_size:
            file.write(bytes(min(frozen.file_size - size, LARGEST_TRIAL)))
            file.flush()
            raise OSError(f"the file has {size} bytes, not {frozen.file_size}")
        os.fsync(file.fileno())
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _await(child: int, answer: BinaryIO, deadline: float) -> str:
    """Return the answer of the child, and reap it; kill it at `deadline`.

    Raises SnapshotError if it failed or was not done in time.
    """
    try:
        poll = select.poll()
        poll.register(answer, select.POLLIN)
        in_time = bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
        if not in_time:
            os.kill(child, signal.SIGKILL)
        said = answer.read().decode()
    finally:
        _, status = os.waitpid(child, 0)
    if not in_time:
        raise SnapshotError("the child that saves was not done in time")
    if status != 0 or not said:
        code = os.waitstatus_to_exitcode(status)
        raise SnapshotError(
            f"the child that saves was killed by signal {-code}"
            if code < 0
            else said or f"the child that saves ended with {code}"
        )
    return said
