from __future__ import annotations

import sys
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory
from indexer.hnsw.vector_set import VectorSet
from indexer.key import SetKey
from tests.unit.indexer.vectors import MakeVectors, Vectors

OPTIONS = IndexOptions(dimensions=32, shard_capacity=100_000)
SHARE = 0.2
MANY, MORE = 500, 4_000


@pytest.fixture
def vectors(clustered: MakeVectors) -> Vectors:
    return clustered(100)


@pytest.fixture
def index(tmp_path: Path) -> VectorIndex:
    return VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS))


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


def steps_of(work: Callable[[], object]) -> int:
    """Return how many bytecodes the work takes, which the load of a machine does not change."""
    steps = 0

    def count(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
    return steps


def open_sets(index: VectorIndex, first: int, beyond: int) -> None:
    for number in range(first, beyond):
        index._open(SetKey(f"{number // 2:016x}", "ab"[number % 2]), ready=True)


def test_a_look_and_a_search_cost_the_same_however_many_sets_there_are(
    index: VectorIndex, vectors: Vectors, stopping: threading.Event
) -> None:
    own = SetKey("own", "a")
    index.add(own, range(1, 101), vectors)
    index.mark_deleted(own, [1])
    index.create(SetKey("own", "to build"))

    def look() -> None:
        assert index.not_ready() == [SetKey("own", "to build")]
        assert index.unsaved().keys() == {own, SetKey("gone", "a")}
        assert index.compact(SHARE, stopping) == 0
        assert index.unload_beyond(10**9, idle_seconds=0) == 0
        assert index.not_saved() == {}
        assert index.memory_bytes > 0
        assert index.set_count > MANY
        assert len(index.keys_of("own")) == 2
        index.search([own], vectors[:1], 5)
        assert index.drop_generation("gone", for_ever=False) == 1

    costs = []
    for first, beyond in ((0, MANY), (MANY, MORE)):
        open_sets(index, first, beyond)
        index.add(SetKey("gone", "a"), [1], vectors[:1])
        # What is new is looked at once.
        index.unsaved()
        index.mark_deleted(own, [2])
        costs.append(steps_of(look))
        assert index.memory_bytes == sum(one.memory_bytes for one in index._sets.all().values())
    assert costs[1] < 1.05 * costs[0]


def test_what_changed_meanwhile_is_unsaved_even_if_the_look_saw_it_before(
    index: VectorIndex, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SetKey("1", "x")
    index.add(key, [1], vectors[:1])
    assert index.save(key)
    unsaved_changes: Callable[[VectorSet], int] = vars(VectorSet)["unsaved_changes"].fget

    def look_then_change(vector_set: VectorSet) -> int:
        count = unsaved_changes(vector_set)
        monkeypatch.setattr(VectorSet, "unsaved_changes", property(unsaved_changes))
        index.add(key, [2], vectors[1:2])
        return count

    monkeypatch.setattr(VectorSet, "unsaved_changes", property(look_then_change))
    assert index.unsaved() == {}
    assert index.unsaved() == {key: 1}


@pytest.mark.parametrize("change", ["add", "mark", "revive"])
def test_every_change_makes_a_saved_set_unsaved(
    index: VectorIndex, vectors: Vectors, change: str
) -> None:
    key = SetKey("1", "x")
    index.add(key, [1, 2], vectors[:2])
    index.mark_deleted(key, [2])
    assert index.save(key)
    assert index.unsaved() == {}
    match change:
        case "add":
            index.add(key, [3], vectors[2:3])
        case "mark":
            index.mark_deleted(key, [1])
        case "revive":
            index.revive(key, [2])
    assert index.unsaved() == {key: 1}


def test_a_loaded_set_is_looked_at_for_compaction_and_counts_as_memory(
    index: VectorIndex, vectors: Vectors, stopping: threading.Event, tmp_path: Path
) -> None:
    key = SetKey("1", "x")
    index.add(key, range(1, 101), vectors)
    index.mark_deleted(key, range(1, 51))
    assert index.save(key)
    again = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS))
    assert again.not_ready() == [key]
    again.now_ready(key)
    assert again.not_ready() == []
    assert (again.memory_bytes, again.compact(SHARE, stopping)) == (0, 0)
    again.search([key], vectors[:1], 1)
    assert again.memory_bytes == again._sets[key].memory_bytes > 0
    assert again.compact(SHARE, stopping) == 1
    assert again.compact(SHARE, stopping) == 0


def test_a_late_change_of_a_dropped_set_leaves_no_trace(
    index: VectorIndex, vectors: Vectors
) -> None:
    key = SetKey("1", "x")
    index.add(key, [1], vectors[:1])
    late = index._sets[key]
    index.drop_generation("1", for_ever=False)
    late.ready = False
    late.mark_deleted([1])
    assert (index.not_ready(), index.unsaved(), index.memory_bytes) == ([], {}, 0)
    index.add(key, [2], vectors[:1])
    late.mark_deleted([1])
    assert index.unsaved() == {key: 2}, "the label and its shard"
    assert index.memory_bytes == index._sets[key].memory_bytes


def test_threads_that_open_change_and_drop_sets_leave_right_sums(
    index: VectorIndex, vectors: Vectors
) -> None:
    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for label in range(1, 200):
            generation = str(random.integers(4))
            key = SetKey(generation, str(random.integers(3)))
            index.add(key, [label], vectors[label % 100][None])
            if label % 7 == 0:
                index.mark_deleted(key, [label])
            if label % 41 == 0:
                index.drop_generation(generation, for_ever=False)

    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(work, seed) for seed in range(4)]:
            one.result()
    sets = index._sets.all()
    assert index.set_count == len(sets)
    assert index.memory_bytes == sum(one.memory_bytes for one in sets.values())
    assert index.unsaved() == {key: one.unsaved_changes for key, one in sets.items()}


#: Frames that are looked through for one of the index.
FRAMES = 25


def bytes_of(*works: Callable[[], object]) -> int:
    """Return the fewest bytes that the index takes by what one of `works`, which are alike, leaves.

    What threads of other tests allocate meanwhile does not count. One of them may also pay for
    Python's table of interned strings, which grows by megabytes now and then.
    """
    found = []
    for work in works:
        tracemalloc.start(FRAMES)
        kept = work()
        taken = tracemalloc.take_snapshot()
        tracemalloc.stop()
        del kept
        of_index = tracemalloc.Filter(True, "*/indexer/hnsw/*", all_frames=True)
        found.append(sum(trace.size for trace in taken.filter_traces([of_index]).traces))
    return min(found)


def test_a_small_set_takes_little_memory_beside_its_numbers(
    index: VectorIndex, vectors: Vectors, tmp_path: Path
) -> None:
    """In memory, and out of it as a new process finds it: of 100,000 sets each byte counts."""
    index.add(SetKey("first", "x"), [1], vectors[:1])
    keys = [SetKey(f"{number // 3:016x}", str(number % 3)) for number in range(600)]

    def fill(part: list[SetKey]) -> None:
        for key in part:
            index.add(key, range(1, 11), vectors[:10])

    numbers = vectors[:10].nbytes
    taken = bytes_of(partial(fill, keys[:300]), partial(fill, keys[300:]))
    assert numbers < taken / 300 < numbers + 1_400
    for key in keys:
        index.save(key)
    snapshots = SnapshotDirectory(tmp_path, "model", OPTIONS)
    found = partial(VectorIndex, OPTIONS, snapshots)
    assert 100 < bytes_of(found, found) / len(keys) < 1_200
