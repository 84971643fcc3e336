"""A shard saved to a file by a forked child, while this process goes on.

hnswlib holds the interpreter lock while it saves, and reports no fault of the disk; so
a child that has the memory of this moment saves, and what it wrote is checked.
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

NICENESS = 10
"""Priority that the child gives up, so that searches do not wait for it."""

IGNORED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""A stop of the whole process group must not cost the snapshot that is under way."""

LEAST_SECONDS = 10.0
"""What the child of the smallest shard may take."""

SLOWEST_BYTES_PER_SECOND = 2e6
"""A disk that is slower than this saves no large shard. A child may hang for ever, on a lock of
some library that another thread held at the fork; nothing else is saved or built while it does."""

LARGEST_TRIAL = 2**20
"""Bytes written to hear from the disk why the rest of a file is not there."""


class SnapshotError(Exception):
    """A snapshot could not be written; the one before it is still good."""


def save_shard(shard: Shard, path: Path, seconds: float) -> tuple[int, ShardRecord]:
    """Save a shard under `path`; give its count of changes at that moment, and the record.

    The file is whole and on the disk when this returns. Raises SnapshotError, with
    nothing left at `path`, where that did not succeed within `seconds`, or within what
    its size allows.
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
    """Pass if the file has the size and the SHA-256 of its record.

    Raises SnapshotError, OSError if not.
    """
    size = path.stat().st_size
    if size != record.size:
        raise SnapshotError(f"{path.name} has {size} bytes, not {record.size}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
            raise SnapshotError(f"{path.name} has a wrong checksum")


def read_file(path: Path, record: ShardRecord) -> bytes:
    """Return the bytes of a file that has the size and the SHA-256 of its record.

    Raises SnapshotError, OSError if not.
    """
    with path.open("rb") as file:
        data = file.read(record.size + 1)
    if len(data) != record.size:
        raise SnapshotError(f"{path.name} has {path.stat().st_size} bytes, not {record.size}")
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise SnapshotError(f"{path.name} has a wrong checksum")
    return data


def _save_and_exit(frozen: FrozenShard, path: Path, writer: int) -> NoReturn:
    """Do the child's work.

    Only this thread of the parent lives on here, so locks that others held are held for
    ever: nothing is logged, and nothing of the parent's is cleaned up.
    """
    try:
        gc.disable()
        for number in IGNORED_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        # The parent's sockets and its lock on the directory must end with the parent.
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
    """Write the file, whole and on the disk, and give its SHA-256 in hex; raises OSError.

    hnswlib says nothing of a file that it can't open or write, so the disk is asked why.
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
    """Return what the child wrote, and see it end; raises SnapshotError where it failed."""
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
