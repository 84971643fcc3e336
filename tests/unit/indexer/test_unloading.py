from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from indexer.hnsw import index as index_module
from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import MANIFEST, SetSnapshot, SnapshotDirectory
from indexer.key import SetKey
from indexer.vector_store import SetNotReadyError
from tests.unit.indexer.engines import sizes
from tests.unit.indexer.vectors import MakeVectors, Vectors

OPTIONS = IndexOptions(dimensions=32, shard_capacity=100_000)
KEYS = [SetKey(str(number), "x") for number in range(3)]


@pytest.fixture
def vectors(clustered: MakeVectors) -> Vectors:
    return clustered(300)


@pytest.fixture
def index(tmp_path: Path, vectors: Vectors) -> VectorIndex:
    """Three sets with 100 vectors each; the first was used longest ago."""
    made = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS))
    for number, key in enumerate(KEYS):
        start = 100 * number
        made.add(key, range(start + 1, start + 101), vectors[start : start + 100])
    return made


def loaded(index: VectorIndex) -> list[bool]:
    return [index.state()[key].loaded for key in KEYS]


def one_set(index: VectorIndex) -> int:
    return index._sets[KEYS[0]].memory_bytes


def test_the_set_idle_for_longest_goes_first_saved_and_free(index: VectorIndex) -> None:
    shard = weakref.ref((index._sets[KEYS[0]]._shards or ())[0])
    before = sizes(index)
    budget = 2 * one_set(index)
    assert index.unload_beyond(budget, idle_seconds=0) == 1
    gc.collect()
    assert shard() is None
    assert loaded(index) == [False, True, True]
    assert sizes(index) == before
    assert index.unload_beyond(budget, idle_seconds=0) == 0


def test_a_set_in_use_stays_and_so_does_the_one_used_last(index: VectorIndex) -> None:
    assert index.unload_beyond(1, idle_seconds=60) == 0
    assert index.unload_beyond(1, idle_seconds=0) == 2
    assert loaded(index) == [False, False, True]


def test_within_the_budget_nothing_goes(index: VectorIndex) -> None:
    assert index.unload_beyond(3 * one_set(index), idle_seconds=0) == 0


def test_each_use_of_an_unloaded_set_loads_it(index: VectorIndex, vectors: Vectors) -> None:
    index.unload_beyond(1, idle_seconds=0)
    assert index.search([KEYS[0]], vectors[4:5], 1).labels.tolist() == [5]
    assert loaded(index) == [True, False, True]
    assert index.mark_deleted(KEYS[1], [105]) == 0
    assert loaded(index) == [True, True, True]
    assert not index.contains(KEYS[1], 105)
    index.unload_beyond(1, idle_seconds=0)
    assert loaded(index) == [False, True, False]
    assert index.add(KEYS[2], [201, 301], vectors[[200, 0]]) == 1
    assert index.search(KEYS, vectors[:1], 2).similarities.tolist() == pytest.approx([1.0, 1.0])
    assert [index.count(key) for key in KEYS] == [100, 99, 101]


def test_a_set_that_can_not_be_saved_is_not_unloaded(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(SetSnapshot, "save_shard", full)
    assert index.unload_beyond(1, idle_seconds=0) == 0
    assert loaded(index) == [True, True, True]
    assert caplog.text.count("disk full") == 2
    assert index.unload_beyond(1, idle_seconds=0) == 0
    assert caplog.text.count("disk full") == 2, "not tried again at once"


def test_a_change_after_the_save_keeps_the_set(index: VectorIndex, vectors: Vectors) -> None:
    assert index.save(KEYS[0])
    index.add(KEYS[0], [1000], vectors[:1])
    assert index._sets[KEYS[0]].unload() is False
    assert index.contains(KEYS[0], 1000)


def test_a_set_that_is_not_ready_stays(index: VectorIndex) -> None:
    index._sets[KEYS[0]].ready = False
    assert index.unload_beyond(1, idle_seconds=0) == 1
    assert loaded(index) == [True, False, True]


def test_an_index_without_snapshots_unloads_nothing(vectors: Vectors) -> None:
    index = VectorIndex(OPTIONS)
    for key in KEYS:
        index.add(key, [1], vectors[:1])
    assert index.unload_beyond(1, idle_seconds=0) == 0
    assert index.contains(KEYS[0], 1)


def test_a_snapshot_damaged_while_its_set_was_out_makes_it_not_ready(
    index: VectorIndex, vectors: Vectors, tmp_path: Path
) -> None:
    index.unload_beyond(1, idle_seconds=0)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != MANIFEST:
            path.write_bytes(b"gone")
    with pytest.raises(SetNotReadyError):
        index.search([KEYS[0]], vectors[:1], 1)
    assert index.not_ready() == [KEYS[0]]
    assert index.search([KEYS[2]], vectors[200:201], 1).labels.tolist() == [201]
    index.add(KEYS[0], range(1, 101), vectors[:100])
    index.now_ready(KEYS[0])
    assert index.search([KEYS[0]], vectors[:1], 1).labels.tolist() == [1]


def test_a_search_waits_for_a_load_but_not_for_long(
    index: VectorIndex, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "LOAD_PATIENCE", 0.3)
    index.unload_beyond(1, idle_seconds=0)
    load, let_it = SetSnapshot.load, threading.Event()

    def slow(*arguments: Any) -> object:
        let_it.wait(30)
        return load(*arguments)

    monkeypatch.setattr(SetSnapshot, "load", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(index.search, [KEYS[0]], vectors[:1], 1)
        time.sleep(0.1)
        with pytest.raises(SetNotReadyError):
            index.search([KEYS[0]], vectors[:1], 1)
        assert index.search([KEYS[2]], vectors[200:201], 1).labels.tolist() == [201]
        second = pool.submit(index.search, [KEYS[0]], vectors[:1], 1)
        let_it.set()
        assert first.result(10).labels.tolist() == second.result(10).labels.tolist() == [1]


def test_threads_that_use_sets_while_they_go_and_come_lose_nothing(
    index: VectorIndex, clustered: MakeVectors
) -> None:
    vectors = clustered(2_000, seed=4)
    begin = time.monotonic()
    over = threading.Event()
    added: dict[SetKey, list[int]] = {key: [] for key in KEYS}

    def use(key: SetKey, first: int) -> None:
        label = first
        while not over.is_set() and label < first + 600:
            assert index.add(key, [label], vectors[label - 1000][None]) == 1
            added[key].append(label)
            assert label in index.search([key], vectors[label - 1000][None], 1).labels
            label += 1
            # A set goes only where it did not change since it was saved, and saving takes a while.
            time.sleep(0.4)

    def unload() -> int:
        count = 0
        # On a loaded machine few sets go in this time.
        while time.monotonic() < begin + (1.5 if count > 3 else 20):
            count += index.unload_beyond(1, idle_seconds=0)
        over.set()
        return count

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(use, key, 1000 + 650 * n) for n, key in enumerate(KEYS)]
        unloading = pool.submit(unload)
        for one in work:
            one.result()
        assert unloading.result() > 3
    for number, key in enumerate(KEYS):
        own = set(range(100 * number + 1, 100 * number + 101))
        assert index.live_labels(key) == own | set(added[key])
