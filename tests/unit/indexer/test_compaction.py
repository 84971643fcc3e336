from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from indexer.hnsw.compaction import Compaction
from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory
from indexer.key import SetKey
from tests.unit.indexer.engines import sizes
from tests.unit.indexer.vectors import MakeVectors, MoveVectors

KEY = SetKey("generation", "category")
OPTIONS = IndexOptions(dimensions=32, shard_capacity=1_000, exact_up_to=500)
SHARE = 0.2
SECONDS = 2.0


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


def test_a_shard_is_built_anew_past_the_share_and_not_before(
    clustered: MakeVectors, stopping: threading.Event
) -> None:
    vectors = clustered(1_500)
    index = VectorIndex(OPTIONS)
    index.add(KEY, range(1, 1_501), vectors)
    index.mark_deleted(KEY, range(1, 201))
    assert index.compact(SHARE, stopping) == 0
    index.mark_deleted(KEY, [201])
    assert index.compact(SHARE, stopping) == 1
    assert sizes(index)[KEY] == (1_299, 0, 2)
    for label in (202, 777, 1_000, 1_500):
        assert index.search([KEY], vectors[label - 1 : label], 1).labels.tolist() == [label]
    found = index.search([KEY], vectors[:201:20], 300).labels
    assert found.min() > 201
    more = clustered(200, seed=3)
    index.add(KEY, range(2_001, 2_201), more)
    assert index.state()[KEY].shards == 2, "the place that was given back is used"


def test_the_answers_stay_true_and_the_numbers_of_the_vectors_too(
    clustered: MakeVectors, near: MoveVectors, stopping: threading.Event
) -> None:
    vectors = clustered(900)
    index = VectorIndex(OPTIONS)
    index.add(KEY, range(1, 901), vectors)
    index.mark_deleted(KEY, range(1, 901, 3))
    before = index.search([KEY], near(vectors[:50]), 50)
    assert index.compact(SHARE, stopping) == 1
    after = index.search([KEY], near(vectors[:50]), 50)
    assert np.array_equal(before.labels, after.labels)
    np.testing.assert_allclose(before.similarities, after.similarities, atol=1e-6)


def test_a_set_of_which_nothing_lives_frees_its_memory_and_its_files(
    clustered: MakeVectors, stopping: threading.Event, tmp_path: Path
) -> None:
    index = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS))
    index.add(KEY, range(1, 1_101), clustered(1_100))
    assert index.save(KEY)
    shards = [weakref.ref(shard) for shard in index._sets[KEY]._shards or ()]
    index.mark_deleted(KEY, range(1, 1_101))
    assert index.compact(SHARE, stopping) == 2
    gc.collect()
    assert [shard() for shard in shards] == [None, None]
    assert sizes(index)[KEY] == (0, 0, 0)
    assert index.unsaved() == {KEY: 2}
    assert index.save(KEY)
    assert list(tmp_path.iterdir()) == []
    assert index.unsaved() == {}
    index.add(KEY, [5_000], clustered(1))
    assert index.count(KEY) == 1


def test_a_compacted_set_is_saved_and_loaded(
    clustered: MakeVectors, stopping: threading.Event, tmp_path: Path
) -> None:
    index = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS))
    index.add(KEY, range(1, 1_501), clustered(1_500))
    assert index.save(KEY)
    index.mark_deleted(KEY, range(1, 901))
    assert index.compact(SHARE, stopping) == 1
    assert index.unsaved()
    assert index.save(KEY)
    again = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS))
    assert again.live_labels(KEY) == set(range(901, 1_501))
    assert sizes(again)[KEY] == (600, 0, 2)


def test_changes_between_copy_and_swap_are_not_lost(
    clustered: MakeVectors, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered(700)
    index = VectorIndex(OPTIONS)
    index.add(KEY, range(1, 601), vectors[:600])
    index.mark_deleted(KEY, range(1, 201))
    copy = Compaction.copy

    def copy_then_change(compaction: Compaction, event: threading.Event) -> bool:
        done = copy(compaction, event)
        index.add(KEY, range(601, 701), vectors[600:])
        index.mark_deleted(KEY, [300, 650])
        return done

    monkeypatch.setattr(Compaction, "copy", copy_then_change)
    assert index.compact(SHARE, stopping) == 1
    assert index.live_labels(KEY) == set(range(201, 701)) - {300, 650}
    assert not np.isin([300, 650], index.search([KEY], vectors[[299, 649]], 500).labels).any()


def test_a_label_deleted_between_its_copy_and_the_next_stays_deleted(
    clustered: MakeVectors, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = VectorIndex(OPTIONS)
    index.add(KEY, range(1, 601), clustered(600))
    index.mark_deleted(KEY, range(1, 201))
    pieces = []
    copy = Compaction._copy

    def copy_and_mark(compaction: Compaction, labels: list[int]) -> None:
        index.mark_deleted(KEY, labels[:1])
        copy(compaction, labels)
        index.mark_deleted(KEY, labels[-1:])
        pieces.append(labels)

    finish = Compaction.finish

    def finish_undisturbed(compaction: Compaction) -> None:
        monkeypatch.setattr(Compaction, "_copy", copy)
        finish(compaction)

    monkeypatch.setattr(Compaction, "_copy", copy_and_mark)
    monkeypatch.setattr(Compaction, "finish", finish_undisturbed)
    assert index.compact(SHARE, stopping) == 1
    gone = {label for piece in pieces for label in (piece[0], piece[-1])}
    assert gone
    assert index.live_labels(KEY) == set(range(201, 601)) - gone


def test_a_stop_leaves_the_old_shard(clustered: MakeVectors, stopping: threading.Event) -> None:
    index = VectorIndex(OPTIONS)
    index.add(KEY, range(1, 601), clustered(600))
    index.mark_deleted(KEY, range(1, 201))
    stopping.set()
    assert index.compact(SHARE, stopping) == 0
    assert sizes(index)[KEY] == (400, 200, 1)


def test_a_set_dropped_meanwhile_stays_dropped(
    clustered: MakeVectors, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = VectorIndex(OPTIONS)
    index.add(KEY, range(1, 601), clustered(600))
    index.mark_deleted(KEY, range(1, 201))
    vector_set = index._sets[KEY]
    copy = Compaction.copy

    def drop_meanwhile(compaction: Compaction, event: threading.Event) -> bool:
        index.drop_generation("generation")
        return copy(compaction, event)

    monkeypatch.setattr(Compaction, "copy", drop_meanwhile)
    vector_set.compact(SHARE, stopping)
    assert vector_set.state()[:3] == (0, 0, 0)


def test_swaps_while_threads_add_search_mark_and_save_lose_nothing(
    clustered: MakeVectors, tmp_path: Path, stopping: threading.Event
) -> None:
    vectors = clustered(20_000)
    directory = SnapshotDirectory(tmp_path, "model", OPTIONS)
    index = VectorIndex(OPTIONS, directory)
    added: list[int] = []
    marked: set[int] = set()
    begun = time.monotonic()
    counts = {"searches": 0, "compactions": 0, "saves": 0}

    def goes_on() -> bool:
        # A loaded machine has until later to show something.
        return time.monotonic() < begun + (SECONDS if min(counts.values()) and marked else 100)

    def add() -> None:
        while goes_on() and len(added) < 19_000:
            start = len(added)
            assert index.add(KEY, range(start + 1, start + 17), vectors[start : start + 16]) == 16
            added.extend(range(start + 1, start + 17))

    def mark() -> None:
        while goes_on():
            chosen = [label for label in added[-600:] if label % 3 == 0 and label not in marked]
            index.mark_deleted(KEY, chosen)
            marked.update(chosen)
            time.sleep(0.01)

    def search() -> None:
        while goes_on():
            gone = set(marked)
            there = [label for label in added[-200:] if label % 3]
            found = index.search([KEY], vectors[[n - 1 for n in there[:3]]], 20).labels.tolist()
            assert gone.isdisjoint(found)
            assert set(there[:3]) <= set(found)
            counts["searches"] += 1

    def keep() -> None:
        while goes_on():
            counts["compactions"] += index.compact(SHARE, stopping)
            counts["saves"] += index.save(KEY)

    with ThreadPoolExecutor(4) as pool:
        for work in [pool.submit(one) for one in (add, mark, search, keep)]:
            work.result()
    assert min(counts.values()) > 0
    assert marked
    assert index.live_labels(KEY) == set(added) - marked
    index.save(KEY)
    assert VectorIndex(OPTIONS, directory).live_labels(KEY) == set(added) - marked
