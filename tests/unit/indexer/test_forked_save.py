from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.directory_ownership import DirectoryOwnership
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.shard import FrozenShard, Shard
from indexer.hnsw.snapshots import forked_save
from indexer.hnsw.snapshots.forked_save import SnapshotError, check_file, save_shard
from tests.unit.indexer.vectors import MakeVectors

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = IndexOptions(dimensions=32, shard_capacity=100_000)


@pytest.fixture
def shard(clustered: MakeVectors) -> Shard:
    filled = Shard(OPTIONS)
    filled.add(range(1, 301), clustered(300))
    filled.mark_deleted([7, 8])
    return filled


#: Chooses what the child does in place of saving.
Saving = Callable[[Callable[[Path], None]], None]


@pytest.fixture
def saving(monkeypatch: pytest.MonkeyPatch) -> Saving:
    """Return a function that chooses what the child does in place of saving."""

    def choose(save: Callable[[Path], None]) -> None:
        frozen = Shard.frozen

        @contextmanager
        def replaced(shard: Shard) -> Iterator[FrozenShard]:
            with frozen(shard) as found:
                yield replace(found, save=save)

        monkeypatch.setattr(Shard, "frozen", replaced)

    return choose


def test_a_saved_shard_is_loaded_with_all_that_it_knew(
    shard: Shard, tmp_path: Path, clustered: MakeVectors
) -> None:
    changes, record = save_shard(shard, tmp_path / "a", 60)
    assert changes == shard.changes == 302
    assert (record.file, record.live, set(record.deleted)) == ("a", 298, {7, 8})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    check_file(tmp_path / "a", record)
    loaded = Shard.load(OPTIONS, tmp_path / "a", record.live, record.deleted)
    vectors = clustered(300)
    assert (loaded.live_count, loaded.deleted_count, loaded.changes) == (298, 2, 0)
    assert loaded._index.ef == OPTIONS.ef_floor
    assert (loaded.search(vectors, 10).labels == shard.search(vectors, 10).labels).all()
    assert loaded.mark_deleted([7, 9]) == 1
    assert loaded.add([7, 301], clustered(2, seed=9)) == 1, "it grows, and keeps its marks"
    assert loaded.size >= 301


def test_nothing_is_logged_and_no_lock_is_needed_by_the_child(
    shard: Shard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other threads hold the locks of logging, of imports and of a queue when the fork is."""
    held = threading.Event()
    over = threading.Event()
    handler = logging.Handler()
    lock = handler.lock
    assert lock is not None

    def hold() -> None:
        with lock:
            held.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        save_shard(shard, tmp_path / "a", 20)
    finally:
        over.set()
        thread.join()
    assert caplog.text == ""


def test_a_killed_child_is_told_and_leaves_nothing(
    shard: Shard, tmp_path: Path, saving: Saving
) -> None:
    def die(path: Path) -> None:
        path.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    saving(die)
    with pytest.raises(SnapshotError, match="killed by signal 9"):
        save_shard(shard, tmp_path / "a", 60)
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_fails_is_told(shard: Shard, tmp_path: Path, saving: Saving) -> None:
    def fail(path: Path) -> None:
        raise RuntimeError(path)

    saving(fail)
    with pytest.raises(SnapshotError, match="ended with 1"):
        save_shard(shard, tmp_path / "a", 60)


def test_a_child_that_hangs_is_ended(shard: Shard, tmp_path: Path, saving: Saving) -> None:
    def hang(path: Path) -> None:
        path.with_suffix(".pid").write_text(str(os.getpid()), encoding="ascii")
        time.sleep(60)

    saving(hang)
    started = time.monotonic()
    with pytest.raises(SnapshotError, match="not done in time"):
        save_shard(shard, tmp_path / "a", 1.0)
    assert time.monotonic() - started < 10
    (told,) = tmp_path.glob("*.pid")
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text(encoding="ascii")), 0)


def test_a_child_that_hangs_is_ended_after_what_the_size_of_its_shard_allows(
    shard: Shard, tmp_path: Path, saving: Saving, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving(lambda _: time.sleep(60))
    monkeypatch.setattr(forked_save, "LEAST_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(SnapshotError, match="not done in time"):
        save_shard(shard, tmp_path / "a", 120)
    assert time.monotonic() - started < 10


def test_a_stop_of_the_process_group_does_not_end_the_child(
    shard: Shard, tmp_path: Path, saving: Saving
) -> None:
    def save(path: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        shard._index.save_index(str(path))

    saving(save)
    save_shard(shard, tmp_path / "a", 60)


def test_the_child_holds_neither_the_directory_nor_a_socket(
    shard: Shard, tmp_path: Path, saving: Saving
) -> None:
    def look(path: Path) -> None:
        files = [Path(f"/proc/self/fd/{number}") for number in range(3, 100)]
        names = [os.readlink(file) for file in files if file.is_symlink()]
        if len(names) != 1 or "pipe" not in names[0]:
            os._exit(77)
        shard._index.save_index(str(path))

    saving(look)
    with DirectoryOwnership(tmp_path / "owned"), socket.socket() as low:
        high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 90)
        try:
            save_shard(shard, tmp_path / "a", 60)
        finally:
            os.close(high)


def test_a_short_file_is_no_snapshot(shard: Shard, tmp_path: Path, saving: Saving) -> None:
    def half(path: Path) -> None:
        path.write_bytes(b"half")

    saving(half)
    with pytest.raises(SnapshotError, match="has 4 bytes, not"):
        save_shard(shard, tmp_path / "a", 60)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(shard: Shard, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No such file"):
        save_shard(shard, tmp_path / "nowhere" / "a", 60)


FULL_DISK = """
import logging, resource, sys
from pathlib import Path
import numpy as np
from indexer.hnsw.index import VectorIndex
from indexer.key import SetKey
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory

KEY = SetKey("1", "x")
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
options = IndexOptions(dimensions=32, shard_capacity=400, exact_up_to=int(sys.argv[2]))
directory = SnapshotDirectory(Path(sys.argv[1]), "model", options)
index = VectorIndex(options, directory)
vectors = np.random.default_rng(1).standard_normal((600, 32)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
index.add(KEY, range(1, 501), vectors[:500])
assert index.save(KEY)
files = sorted(path.name for path in Path(sys.argv[1]).rglob("*"))
index.mark_deleted(KEY, [1])
index.add(KEY, range(501, 601), vectors[500:])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in (0, 10, 4096, 50_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert not index.save(KEY)
    assert sorted(path.name for path in Path(sys.argv[1]).rglob("*")) == files
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
(manifest,) = directory.find()
old = VectorIndex(options, directory)
old.now_ready(KEY)
assert old.state()[KEY].live == 500
assert old.search([KEY], vectors[:1], 1).labels.tolist() == [1]
assert index.save(KEY)
assert VectorIndex(options, directory).state()[KEY].live == 599
"""


@pytest.mark.parametrize("exact_up_to", ["1", "2000"])
def test_a_full_disk_leaves_the_old_snapshot_and_says_so_in_a_line(
    tmp_path: Path, exact_up_to: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), exact_up_to],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all("the one before stays" in line for line in lines)
    assert all(line.endswith("stays: File too large") for line in lines)
