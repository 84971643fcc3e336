from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer import keeper as keeper_module
from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SetSnapshot, SnapshotDirectory
from indexer.keeper import Keeper, KeeperOptions
from indexer.key import SetKey
from tests.unit.indexer.vectors import MakeVectors, Vectors

KEY = SetKey("1", "x")
OPTIONS = IndexOptions(dimensions=32, shard_capacity=100_000)
RARELY = KeeperOptions(
    snapshot_seconds=3600, snapshot_changes=10**9, deleted_share=0.99, pause_seconds=0.01
)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def vectors(clustered: MakeVectors) -> Vectors:
    return clustered(200)


@pytest.fixture
def index(tmp_path: Path) -> VectorIndex:
    return VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS))


#: Starts a keeper, with options other than the usual ones.
Keep = Callable[..., Keeper]


@pytest.fixture
def keep(index: VectorIndex) -> Iterator[Keep]:
    keepers = []

    def start(
        restore: Callable[..., Sequence[VectorIndex]] = lambda *_: [index],
        **options: Any,
    ) -> Keeper:
        keeper = Keeper(restore, replace(RARELY, **options))
        keeper.start()
        keepers.append(keeper)
        return keeper

    yield start
    for keeper in keepers:
        keeper.stop(10)


def test_many_changes_are_saved_at_once(index: VectorIndex, vectors: Vectors, keep: Keep) -> None:
    keep(snapshot_changes=50)
    index.add(KEY, range(1, 41), vectors[:40])
    time.sleep(0.2)
    assert index.state()[KEY].snapshot_seconds is None
    index.add(KEY, range(41, 61), vectors[40:60])
    wait_until(lambda: not index.unsaved())


def test_few_changes_are_saved_after_a_while(
    index: VectorIndex, vectors: Vectors, keep: Keep
) -> None:
    keep(snapshot_seconds=0.4)
    index.add(KEY, [1], vectors[:1])
    time.sleep(0.15)
    assert index.unsaved()
    wait_until(lambda: not index.unsaved())
    index.mark_deleted(KEY, [1])
    wait_until(lambda: not index.unsaved())


def test_a_failed_snapshot_is_not_tried_again_and_again(
    index: VectorIndex,
    vectors: Vectors,
    keep: Keep,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    save, moments = SetSnapshot.save_shard, []

    def full(*arguments: Any) -> object:
        moments.append(time.monotonic())
        if len(moments) < 3:
            raise OSError("no space left")
        return save(*arguments)

    monkeypatch.setattr(SetSnapshot, "save_shard", full)
    keep(snapshot_seconds=0.3, snapshot_changes=1)
    index.add(KEY, [1], vectors[:1])
    wait_until(lambda: not index.unsaved())
    assert np.diff(moments).min() >= 0.29
    assert caplog.text.count("no space left") == 2


def test_a_stop_saves_what_changed(
    index: VectorIndex, vectors: Vectors, keep: Keep, tmp_path: Path
) -> None:
    keeper = keep()
    wait_until(lambda: list(keeper._indexes) == [index])
    index.add(KEY, range(1, 201), vectors)
    keeper.begin_stop()
    keeper.stop(10)
    again = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS))
    assert again.count(KEY) == 200


def test_a_stop_takes_no_longer_than_it_may(
    tmp_path: Path,
    vectors: Vectors,
    keep: Keep,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from indexer.hnsw.shard import Shard

    graphs = replace(OPTIONS, exact_up_to=1)
    index = VectorIndex(graphs, SnapshotDirectory(tmp_path, "model", graphs))
    keeper = keep(lambda *_: [index])
    wait_until(lambda: list(keeper._indexes) == [index])
    for number in range(4):
        index.add(SetKey(str(number), "x"), [1, 2], vectors[:2])
    frozen = Shard.frozen

    def slow(shard: Shard) -> object:
        # Slow in the child alone, where the time limit ends it.
        from contextlib import contextmanager

        @contextmanager
        def held() -> Iterator[object]:
            with frozen(shard) as found:
                yield replace(found, save=lambda _: time.sleep(60))

        return held()

    monkeypatch.setattr(Shard, "frozen", slow)
    started = time.monotonic()
    keeper.stop(1)
    assert time.monotonic() - started < 10
    assert "not done in time" in caplog.text
    assert "no time left" in caplog.text


def test_shards_are_built_anew_and_idle_sets_go(
    index: VectorIndex, vectors: Vectors, keep: Keep
) -> None:
    keep(deleted_share=0.2, memory_bytes=1, idle_seconds=0)
    other = SetKey("2", "x")
    index.add(KEY, range(1, 101), vectors[:100])
    index.mark_deleted(KEY, range(1, 51))
    wait_until(lambda: index.state()[KEY].deleted == 0)
    index.add(other, [1], vectors[:1])
    wait_until(lambda: not index.state()[KEY].loaded)
    assert index.search([KEY], vectors[60:61], 1).labels.tolist() == [61]


def test_a_fault_is_logged_and_the_work_goes_on(
    index: VectorIndex,
    keep: Keep,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(keeper_module, "FAULT_PAUSE", 0.05)
    calls = []

    def restore(*_: object) -> Sequence[VectorIndex]:
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("first")
        return [index]

    keeper = keep(restore)
    assert keeper.wait(10)
    assert list(keeper._indexes) == [index]
    assert caplog.text.count("in the background failed") == 1


def test_a_stop_interrupts_what_restores(keep: Keep) -> None:
    begun = threading.Event()
    interrupted: list[bool] = []

    def restore(stopping: threading.Event, _: object) -> Sequence[VectorIndex]:
        begun.set()
        interrupted.append(stopping.wait(60))
        return []

    keeper = keep(restore)
    begun.wait(10)
    assert not keeper.wait(0.1)
    keeper.stop(30)
    assert interrupted == [True]


def test_what_is_ready_is_saved_while_other_sets_are_restored_and_what_is_not_ready_is_not(
    index: VectorIndex, vectors: Vectors, keep: Keep, tmp_path: Path
) -> None:
    """As it must be when the process is killed then: nothing is stopped before the look."""
    other = SetKey("2", "x")
    built, seen = threading.Event(), threading.Event()

    def restore(_: object, between_sets: Callable[[list[VectorIndex]], None]) -> list[VectorIndex]:
        index.add(KEY, range(1, 201), vectors)
        index.create(other)
        index.add(other, [1], vectors[:1])
        between_sets([index])
        built.set()
        assert seen.wait(10)
        return [index]

    keep(restore, snapshot_seconds=0)
    assert built.wait(10)
    again = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS))
    seen.set()
    assert (again.keys(), again.whole(), again.count(KEY)) == ([KEY], [KEY], 200)


def test_sets_that_are_restored_fast_are_looked_through_once_a_pause(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: a look that takes long makes the pause longer."""
    clock, looked, look_seconds = 0.0, [], 0.0

    def unsaved(_: VectorIndex) -> dict[SetKey, int]:
        nonlocal clock
        looked.append(clock)
        clock += look_seconds
        return {}

    monkeypatch.setattr(keeper_module, "time", SimpleNamespace(monotonic=lambda: clock))
    monkeypatch.setattr(VectorIndex, "unsaved", unsaved)
    keeper = Keeper(lambda *_: [index], replace(RARELY, pause_seconds=2.0))

    def make_ready(sets: int) -> list[float]:
        nonlocal clock
        looked.clear()
        for _ in range(sets):
            keeper._save_meanwhile([index])
            clock += 0.5
        return list(looked)

    assert make_ready(8) == [0.0, 2.0]
    look_seconds = 1.0
    assert make_ready(40) == [4.0, 15.0]
