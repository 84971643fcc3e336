from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.hnsw.options import IndexOptions
from indexer.hnsw.shard import FIRST_SIZE, Shard
from tests.unit.indexer.vectors import MakeVectors, MoveVectors, Vectors

OPTIONS = IndexOptions(dimensions=32, shard_capacity=100_000)


def filled(vectors: Vectors, options: IndexOptions = OPTIONS) -> Shard:
    """Return a shard with the vectors under the labels 1, 2, 3, ..."""
    shard = Shard(options)
    shard.add(range(1, len(vectors) + 1), vectors)
    return shard


def exact(vectors: Vectors, queries: Vectors, k: int) -> NDArray[np.int64]:
    return np.argsort(-(queries @ vectors.T), axis=1)[:, :k] + 1


def test_a_shard_of_2000_is_exact(clustered: MakeVectors, near: MoveVectors) -> None:
    vectors = clustered(2_000)
    queries = near(vectors[::20])
    for k in (1, 10, 200):
        found = filled(vectors).search(queries, k)
        assert np.array_equal(np.sort(found.labels), np.sort(exact(vectors, queries, k)))


def test_similarities_are_cosines_that_fall(clustered: MakeVectors, near: MoveVectors) -> None:
    vectors = clustered(300)
    queries = near(vectors[:5])
    labels, similarities = filled(vectors).search(queries, 20)
    assert labels.dtype == np.int64
    assert similarities.dtype == np.float32
    expected = np.take_along_axis(queries @ vectors.T, labels - 1, axis=1)
    np.testing.assert_allclose(similarities, expected, atol=1e-5)
    assert (np.diff(similarities, axis=1) <= 0).all()


def test_a_vector_finds_itself_with_similarity_1(clustered: MakeVectors) -> None:
    vectors = clustered(50)
    labels, similarities = filled(vectors).search(vectors, 1)
    assert labels[:, 0].tolist() == list(range(1, 51))
    np.testing.assert_allclose(similarities, 1.0, atol=1e-6)
    assert similarities.max() <= 1.0


def test_half_precision_leaves_the_cosine_true(clustered: MakeVectors) -> None:
    vectors = clustered(50).astype(np.float16).astype(np.float32) * np.float32(0.9995)
    similarities = filled(vectors).search(vectors, 1).similarities
    np.testing.assert_allclose(similarities, 1.0, atol=1e-6)


def test_a_shard_grows_by_doubling_up_to_its_capacity(clustered: MakeVectors) -> None:
    vectors = clustered(1_000)
    shard = Shard(IndexOptions(dimensions=32, shard_capacity=1_000))
    sizes = [shard.size]
    for start in range(0, 1_000, 8):
        shard.add(range(start + 1, start + 9), vectors[start : start + 8])
        if shard.size != sizes[-1]:
            sizes.append(shard.size)
    assert sizes == [FIRST_SIZE, 2 * FIRST_SIZE, 1_000]
    assert shard.room == 0
    assert shard.search(vectors, 1).labels[:, 0].tolist() == list(range(1, 1_001))


def test_more_than_the_room_is_refused_whole(clustered: MakeVectors) -> None:
    vectors = clustered(11)
    shard = Shard(IndexOptions(dimensions=32, shard_capacity=10))
    with pytest.raises(ValueError, match="no room"):
        shard.add(range(1, 12), vectors)
    assert shard.live_count == 0


def test_adding_twice_changes_nothing(clustered: MakeVectors) -> None:
    vectors = clustered(20)
    shard = filled(vectors)
    assert shard.add(range(1, 21), vectors[::-1]) == 0
    assert shard.live_count == 20
    assert shard.search(vectors, 1).labels[:, 0].tolist() == list(range(1, 21))


def test_a_label_twice_in_a_call_is_refused_where_images_have_one_vector(
    clustered: MakeVectors,
) -> None:
    shard = Shard(OPTIONS)
    with pytest.raises(ValueError, match="label 7 has 2 vectors, not 1 to 1"):
        shard.add([7, 7, 8], clustered(3))
    assert shard.live_count == 0


def test_a_marked_label_does_not_come_back(clustered: MakeVectors) -> None:
    vectors = clustered(20)
    shard = filled(vectors)
    assert shard.mark_deleted([3]) == 1
    assert shard.add([3], vectors[2:3]) == 0
    assert shard.holds(3)
    assert not shard.contains(3)
    assert 3 not in shard.search(vectors[2:3], 20).labels


def test_marking_twice_or_the_unknown_changes_nothing(clustered: MakeVectors) -> None:
    shard = filled(clustered(20))
    assert shard.mark_deleted([3, 3, 999]) == 1
    assert shard.mark_deleted([3, 999]) == 0
    assert (shard.live_count, shard.deleted_count) == (19, 1)


@pytest.mark.parametrize("exact_up_to", [1, 2_000])
def test_deletions_never_shorten_the_list(
    clustered: MakeVectors, exact_up_to: int, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = clustered(600)
    shard = filled(
        vectors, IndexOptions(dimensions=32, shard_capacity=100_000, exact_up_to=exact_up_to)
    )
    nearest = shard.search(vectors[:1], 590).labels[0].tolist()
    shard.mark_deleted(nearest)
    for k in (1, 9, 10, 11, 200):
        found = shard.search(vectors[:4], k).labels
        assert found.shape == (4, min(k, 10))
        assert set(found.ravel()).isdisjoint(nearest)
    assert caplog.text == "", "k was clamped, so nothing had to be searched exactly"


def test_a_shard_where_all_is_deleted_answers_nothing(clustered: MakeVectors) -> None:
    vectors = clustered(30)
    shard = filled(vectors)
    shard.mark_deleted(range(1, 31))
    assert shard.search(vectors[:2], 5).labels.shape == (2, 0)


def test_an_empty_shard_answers_nothing(clustered: MakeVectors) -> None:
    found = Shard(OPTIONS).search(clustered(2), 5)
    assert found.labels.shape == found.similarities.shape == (2, 0)


def test_k_over_the_live_count_gives_all_that_lives(clustered: MakeVectors) -> None:
    vectors = clustered(7)
    assert sorted(filled(vectors).search(vectors[:1], 200).labels[0]) == list(range(1, 8))


def test_what_the_graph_does_not_reach_is_found_exactly(
    clustered: MakeVectors, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = clustered(700)
    poor_graph = IndexOptions(dimensions=32, shard_capacity=100_000, m=2, ef_construction=1)
    shard = filled(vectors, poor_graph)
    shard.mark_deleted(range(1, 101))
    with caplog.at_level(logging.WARNING):
        found = shard.search(vectors[::50], 30)
    assert "searched exactly" in caplog.text
    assert np.array_equal(found.labels, exact(vectors[100:], vectors[::50], 30) + 100)
    expected = np.take_along_axis(vectors[::50] @ vectors.T, found.labels - 1, axis=1)
    np.testing.assert_allclose(found.similarities, expected, atol=1e-5)
    assert found.labels.dtype == np.int64
    assert found.similarities.dtype == np.float32


def test_another_error_of_the_graph_is_not_hidden(clustered: MakeVectors) -> None:
    class Broken:
        def knn_query(self, *_: object, **__: object) -> None:
            raise RuntimeError("out of order")

    vectors = clustered(5)
    shard = filled(vectors)
    shard._index = Broken()
    with pytest.raises(RuntimeError, match="out of order"):
        shard.search(vectors, 1)


def bad_vectors() -> dict[str, NDArray[Any]]:
    good = np.eye(2, 32, dtype=np.float32)
    nan, infinite, long, zero = good.copy(), good.copy(), good.copy(), good.copy()
    nan[1, 5] = np.nan
    infinite[1, 5] = np.inf
    long[1] *= 1.01
    zero[1] = 0
    return {
        "vector 1 has a number that is not finite": nan,
        "1 has a number that is not finite": infinite,
        "vector 1 has the norm 1.01": long,
        "vector 1 has the norm 0,": zero,
        "float32, not float64": good.astype(np.float64),
        r"\(n, 32\), not \(2, 31\)": good[:, :31],
        r"\(n, 32\), not \(32,\)": good[0],
    }


@pytest.mark.parametrize(("message", "vectors"), bad_vectors().items())
def test_bad_vectors_are_refused(message: str, vectors: NDArray[Any]) -> None:
    shard = Shard(OPTIONS)
    with pytest.raises(ValueError, match=message):
        shard.add([1, 2], vectors)
    with pytest.raises(ValueError, match=message):
        shard.search(vectors, 1)
    assert shard.live_count == 0


@pytest.mark.parametrize("label", [0, -1, 2**60, 2**63])
def test_labels_out_of_range_are_refused(label: int, clustered: MakeVectors) -> None:
    with pytest.raises(ValueError, match="label"):
        Shard(OPTIONS).add([1, label], clustered(2))


def test_labels_and_vectors_must_be_as_many(clustered: MakeVectors) -> None:
    with pytest.raises(ValueError, match="1 labels for 2 vectors"):
        Shard(OPTIONS).add([1], clustered(2))


def test_a_k_under_1_is_refused(clustered: MakeVectors) -> None:
    with pytest.raises(ValueError, match="k must be"):
        Shard(OPTIONS).search(clustered(1), 0)


@pytest.mark.parametrize("exact_up_to", [1, 2_000])
def test_labels_above_2_to_the_53_stay_apart(clustered: MakeVectors, exact_up_to: int) -> None:
    vectors = clustered(4)
    labels = [2**53, 2**53 + 1, 2**60 - 2, 2**60 - 1]
    shard = Shard(IndexOptions(dimensions=32, shard_capacity=100_000, exact_up_to=exact_up_to))
    shard.add(labels, vectors)
    assert shard.search(vectors, 1).labels[:, 0].tolist() == labels
    shard.mark_deleted([2**60 - 2])
    assert set(shard.search(vectors, 4).labels.ravel().tolist()) == {*labels} - {2**60 - 2}


def test_options_of_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="shard_capacity"):
        IndexOptions(dimensions=32, shard_capacity=0)


def test_a_revived_label_is_found_as_before(clustered: MakeVectors) -> None:
    vectors = clustered(600)
    shard = filled(vectors)
    before = shard.search(vectors[:5], 20)
    shard.mark_deleted(range(1, 301))
    changes = shard.changes
    assert shard.revive([1, 2, 301, 999]) == {1, 2}
    assert shard.changes == changes + 2
    assert (shard.live_count, shard.deleted_count) == (302, 298)
    assert shard.search(vectors[:2], 1).labels[:, 0].tolist() == [1, 2]
    shard.revive(range(1, 301))
    assert np.array_equal(shard.search(vectors[:5], 20).labels, before.labels)
