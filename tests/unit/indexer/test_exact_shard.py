from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.hnsw.exact_shard import ExactShard, ShardBytesError, pack
from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.shard import AnyShard, Shard
from indexer.hnsw.snapshots.directory import MANIFEST, SetSnapshot, SnapshotDirectory
from indexer.key import SetKey
from indexer.vector_store import SetNotReadyError
from tests.unit.indexer.engines import sizes
from tests.unit.indexer.vectors import MakeVectors, MoveVectors, Vectors

OPTIONS = IndexOptions(dimensions=32, shard_capacity=100_000, exact_up_to=50)
KEY = SetKey("1", "x")


def exact(vectors: Vectors, queries: Vectors, k: int) -> NDArray[np.int64]:
    return np.argsort(-(queries @ vectors.T), axis=1)[:, :k] + 1


def opened(path: Path, options: IndexOptions = OPTIONS) -> VectorIndex:
    index = VectorIndex(options, SnapshotDirectory(path, "model", options))
    for key in index.not_ready():
        index.now_ready(key)
    return index


def shards(index: VectorIndex) -> tuple[AnyShard, ...]:
    return index._sets[KEY]._shards or ()


@pytest.fixture
def shard(clustered: MakeVectors) -> ExactShard:
    """Forty vectors under the labels from 1, of which two are marked."""
    filled = ExactShard(OPTIONS)
    filled.add(range(1, 41), clustered(40))
    filled.mark_deleted([7, 8])
    return filled


@pytest.mark.parametrize("kind", [Shard, ExactShard])
def test_both_kinds_of_shard_give_the_same_answers(
    kind: type[AnyShard], clustered: MakeVectors, near: MoveVectors
) -> None:
    vectors = clustered(300)
    queries = near(vectors[::30])
    filled = kind(replace(OPTIONS, exact_up_to=2_000))
    assert filled.add(range(1, 301), vectors) == 300
    assert filled.mark_deleted([3, 3, 7, 999]) == 2
    assert filled.mark_deleted([3, 999]) == 0
    assert filled.add([3], vectors[2:3]) == 0, "a late message brings nothing back"
    assert filled.revive([3, 4, 999]) == {3}
    assert (filled.live_count, filled.deleted_count, filled.changes) == (299, 1, 303)
    assert filled.held([0, 3, 7, 301]) == {3, 7}
    assert [filled.contains(label) for label in (3, 7, 301)] == [True, False, False]
    assert filled.live_labels() == set(range(1, 301)) - {7}
    labels, read = filled.read([301, 9, 7, 3])
    assert labels == [9, 3]
    np.testing.assert_allclose(read, vectors[[8, 2]], atol=1e-6)
    compared = queries @ vectors.T
    compared[:, 6] = -2
    for k in (1, 20, 299, 500):
        found = filled.search(queries, k)
        wanted = np.argsort(-compared, axis=1)[:, : min(k, 299)]
        assert np.array_equal(found.labels, wanted + 1)
        similarities = np.take_along_axis(compared, wanted, axis=1)
        np.testing.assert_allclose(found.similarities, similarities, atol=1e-5)
        assert (found.labels.dtype, found.similarities.dtype) == (
            np.dtype(np.int64),
            np.dtype(np.float32),
        )


def test_half_precision_leaves_the_cosine_true(clustered: MakeVectors) -> None:
    vectors = clustered(50).astype(np.float16).astype(np.float32) * np.float32(0.9995)
    filled = ExactShard(OPTIONS)
    filled.add(range(1, 51), vectors)
    similarities = filled.search(vectors, 1).similarities
    np.testing.assert_allclose(similarities, 1.0, atol=1e-6)
    assert similarities.max() <= 1.0


def test_equal_similarities_go_by_label_also_at_the_end_of_the_list(clustered: MakeVectors) -> None:
    vectors = np.repeat(clustered(1), 20, axis=0)
    filled = ExactShard(OPTIONS)
    filled.add(list(range(20, 0, -1)), vectors)
    assert filled.search(vectors[:1], 5).labels[0].tolist() == [1, 2, 3, 4, 5]


def test_where_nothing_lives_the_answer_is_empty(shard: ExactShard, clustered: MakeVectors) -> None:
    shard.mark_deleted(range(1, 41))
    assert shard.search(clustered(2), 5).labels.shape == (2, 0)
    assert ExactShard(OPTIONS).search(clustered(2), 5).similarities.shape == (2, 0)


def test_what_is_bad_is_refused_whole(shard: ExactShard, clustered: MakeVectors) -> None:
    vectors = clustered(70)
    small = ExactShard(replace(OPTIONS, shard_capacity=45))
    small.add(range(1, 41), vectors[:40])
    with pytest.raises(ValueError, match="no room for 6 vectors in a shard of 5"):
        small.add(range(1, 47), vectors[:46])
    with pytest.raises(ValueError, match="finite"):
        small.add([50], vectors[:1] * np.float32(np.nan))
    with pytest.raises(ValueError, match="k must be"):
        small.search(vectors[:1], 0)
    assert small.live_count == 40


def test_few_vectors_take_little_more_memory_than_their_numbers(clustered: MakeVectors) -> None:
    numbers = 10 * 4 * 256
    index = VectorIndex(IndexOptions(dimensions=256, shard_capacity=100_000))
    index.add(KEY, range(1, 11), clustered(10, dimensions=256))
    assert numbers < index.memory_bytes < 1.2 * numbers + 2_000


def test_a_search_sees_all_of_a_change_or_nothing_while_rows_are_added(
    clustered: MakeVectors,
) -> None:
    vectors = clustered(2_000)
    filled = ExactShard(replace(OPTIONS, exact_up_to=2_000))
    over = threading.Event()

    def add() -> None:
        for start in range(0, 2_000, 10):
            filled.add(range(start + 1, start + 11), vectors[start : start + 10])
        over.set()

    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(add)
        while not over.is_set():
            found = filled.search(vectors[:1], 2_000)
            labels = found.labels[0]
            assert len(labels) % 10 == 0
            assert sorted(labels) == list(range(1, len(labels) + 1))
            expected = vectors[labels - 1] @ vectors[0]
            np.testing.assert_allclose(found.similarities[0], expected, atol=1e-5)
        adding.result()
    assert filled.live_count == 2_000


def test_a_set_gets_a_graph_with_the_vector_that_is_one_too_many(
    clustered: MakeVectors, near: MoveVectors
) -> None:
    vectors = clustered(60)
    index = VectorIndex(OPTIONS)
    index.add(KEY, range(1, 51), vectors[:50])
    index.mark_deleted(KEY, [5])
    assert [type(shard) for shard in shards(index)] == [ExactShard]
    assert index.add(KEY, [5, 51], vectors[[4, 50]]) == 1
    assert [type(shard) for shard in shards(index)] == [Shard]
    assert index.add(KEY, range(52, 61), vectors[51:]) == 9
    assert sizes(index)[KEY] == (59, 1, 1)
    assert index.revive(KEY, [5]) == {5}, "its marks are kept"
    found = index.search([KEY], near(vectors[:3])[:1], 20).labels
    assert np.array_equal(found, exact(vectors, near(vectors[:3])[:1], 20)[0])


def test_searches_go_on_while_the_graph_is_built(
    clustered: MakeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered(51)
    index = VectorIndex(OPTIONS)
    index.add(KEY, range(1, 51), vectors[:50])
    begun, go_on = threading.Event(), threading.Event()
    of_rows = Shard.of_rows

    def slow(*arguments: Any) -> Shard:
        begun.set()
        assert go_on.wait(30)
        return of_rows(*arguments)

    monkeypatch.setattr(Shard, "of_rows", slow)
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(index.add, KEY, [51], vectors[50:])
        assert begun.wait(10)
        assert index.search([KEY], vectors[3:4], 1).labels.tolist() == [4]
        assert not adding.done()
        go_on.set()
        assert adding.result(10) == 1
    assert index.search([KEY], vectors[50:], 1).labels.tolist() == [51]


def test_a_graph_of_which_little_lives_is_built_anew_without_one(clustered: MakeVectors) -> None:
    vectors = clustered(100)
    index = VectorIndex(OPTIONS)
    index.add(KEY, range(1, 101), vectors)
    index.mark_deleted(KEY, range(1, 75))
    assert index.compact(0.2, threading.Event()) == 1
    assert [type(shard) for shard in shards(index)] == [Shard]
    index.mark_deleted(KEY, [75, *range(77, 90)])
    assert index.compact(0.2, threading.Event()) == 1
    assert [type(shard) for shard in shards(index)] == [ExactShard]
    assert index.live_labels(KEY) == {76, *range(90, 101)}
    assert index.search([KEY], vectors[75:76], 1).labels.tolist() == [76]
    assert index.add(KEY, [1], vectors[:1]) == 1, "the place that was given back is used"


def test_a_small_set_is_saved_without_a_child_and_loaded_as_it_was(
    tmp_path: Path, clustered: MakeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise AssertionError

    monkeypatch.setattr(os, "fork", fork)
    vectors = clustered(40)
    before = opened(tmp_path)
    before.add(KEY, range(2**59, 2**59 + 40), vectors)
    before.mark_deleted(KEY, [2**59 + 3])
    assert before.save(KEY)
    (file,) = tmp_path.glob("*/*.rows")
    assert file.stat().st_size == 40 * (8 + 4 * 32)
    assert not list(tmp_path.rglob("*.part"))
    after = opened(tmp_path)
    assert sizes(after) == sizes(before)
    expected, found = (one.search([KEY], vectors[:2], 20) for one in (before, after))
    assert np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.similarities, expected.similarities)
    assert after.unsaved() == {}
    assert after.revive(KEY, [2**59 + 3]) == {2**59 + 3}
    after.add(KEY, [1], clustered(1, seed=9))
    assert after.save(KEY)
    assert len(list(tmp_path.glob("*/*.rows"))) == 1
    assert opened(tmp_path).count(KEY) == 41


def test_a_graph_of_few_vectors_from_an_older_snapshot_is_read_and_left(
    tmp_path: Path, clustered: MakeVectors, near: MoveVectors
) -> None:
    vectors = clustered(40)
    before = opened(tmp_path, replace(OPTIONS, exact_up_to=1))
    before.add(KEY, range(1, 41), vectors)
    before.mark_deleted(KEY, [3, 4])
    assert before.save(KEY)
    after = opened(tmp_path)
    assert sizes(after) == sizes(before)
    found = after.search([KEY], near(vectors[:1]), 20)
    assert [type(shard) for shard in shards(after)] == [ExactShard]
    assert np.array_equal(found.labels, before.search([KEY], near(vectors[:1]), 20).labels)
    assert after.unsaved() == {}
    assert after.revive(KEY, [3]) == {3}
    assert after.search([KEY], vectors[2:3], 1).labels.tolist() == [3]
    assert after.save(KEY)
    assert [path.suffix for path in tmp_path.glob("*/*.*")] == [".rows"]


@pytest.mark.parametrize("damage", ["cut", "flip", "longer", "missing"])
def test_damage_of_the_rows_is_found_and_costs_their_set_alone(
    tmp_path: Path, clustered: MakeVectors, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = clustered(20)
    index = opened(tmp_path)
    index.add(KEY, range(1, 21), vectors)
    assert index.save(KEY)
    (file,) = tmp_path.glob("*/*.rows")
    whole = file.read_bytes()
    for place in range(0, len(whole), 101):
        damaged = bytearray(whole)
        damaged[place] ^= 16
        file.unlink(missing_ok=True)
        match damage:
            case "cut":
                file.write_bytes(whole[:place])
            case "flip":
                file.write_bytes(damaged)
            case "longer":
                file.write_bytes(whole + bytes(place + 1))
        caplog.clear()
        after = opened(tmp_path)
        with pytest.raises(SetNotReadyError):
            after.search([KEY], vectors[:1], 1)
        assert caplog.text.count("is lost, it will be built anew") == 1
        assert after.lost_within(60) == 1
    file.write_bytes(whole)
    assert opened(tmp_path).search([KEY], vectors[:1], 1).labels.tolist() == [1]


@pytest.mark.parametrize(("live", "marked"), [(37, (7, 8)), (38, (7, 99)), (38, (7, 8, 9))])
def test_rows_of_other_labels_than_the_record_says_are_refused(
    shard: ExactShard, live: int, marked: tuple[int, ...]
) -> None:
    data = pack(shard.rows)
    assert ExactShard.unpack(OPTIONS, data, 38, (7, 8)).live_labels() == shard.live_labels()
    with pytest.raises(ShardBytesError):
        ExactShard.unpack(OPTIONS, data, live, marked)


def test_bytes_that_are_no_rows_or_name_a_label_twice_are_refused(shard: ExactShard) -> None:
    data = pack(shard.rows)
    with pytest.raises(ShardBytesError):
        ExactShard.unpack(OPTIONS, data[:-1], 38, (7, 8))
    with pytest.raises(ShardBytesError):
        ExactShard.unpack(OPTIONS, data[:8] * 2 + data[16:], 38, (7, 8))


def test_an_empty_shard_is_packed_too() -> None:
    data = pack(ExactShard(OPTIONS).rows)
    assert ExactShard.unpack(OPTIONS, data, 0, ()).live_count == 0


def test_a_failed_save_of_rows_leaves_the_snapshot_before(
    tmp_path: Path, clustered: MakeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(tmp_path)
    index.add(KEY, range(1, 21), clustered(20))
    assert index.save(KEY)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*/*")}
    index.mark_deleted(KEY, [1])
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
    assert not index.save(KEY)
    assert index.not_saved() == {KEY: "I/O error"}
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*/*")} == before
    assert MANIFEST in before
    monkeypatch.undo()
    assert index.save(KEY)
    assert opened(tmp_path).count(KEY) == 19


def test_a_set_that_grew_past_its_bound_after_a_save_is_saved_with_its_graph(
    tmp_path: Path, clustered: MakeVectors
) -> None:
    vectors = clustered(60)
    index = opened(tmp_path)
    index.add(KEY, range(1, 41), vectors[:40])
    assert index.save(KEY)
    index.add(KEY, range(41, 61), vectors[40:])
    assert index.unsaved()[KEY] > 0
    assert index.save(KEY)
    assert [path.suffix for path in tmp_path.glob("*/*.*")] == [".hnsw"]
    assert index.unsaved() == {}
    assert isinstance(SnapshotDirectory(tmp_path, "model", OPTIONS).of(KEY), SetSnapshot)
    assert opened(tmp_path).live_labels(KEY) == set(range(1, 61))
