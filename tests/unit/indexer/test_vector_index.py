from __future__ import annotations

import numpy as np
import pytest

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.key import SetKey
from tests.unit.indexer.sizes import sizes
from tests.unit.indexer.vectors import MakeVectors, MoveVectors

SHOES = SetKey("generation-1", "shoes")
BAGS = SetKey("generation-1", "bags")
OTHER = SetKey("generation-2", "shoes")


@pytest.fixture
def index() -> VectorIndex:
    return VectorIndex(IndexOptions(dimensions=32, shard_capacity=50))


def test_a_set_opens_a_new_shard_at_capacity(index: VectorIndex, clustered: MakeVectors) -> None:
    vectors = clustered(120)
    assert index.add(SHOES, range(1, 121), vectors) == 120
    assert sizes(index) == {SHOES: (120, 0, 3)}
    for place in (0, 49, 50, 119):
        assert index.search([SHOES], vectors[place : place + 1], 1).labels.tolist() == [place + 1]


def test_marked_vectors_keep_their_place_in_a_shard(
    index: VectorIndex, clustered: MakeVectors
) -> None:
    vectors = clustered(60)
    index.add(SHOES, range(1, 51), vectors[:50])
    index.mark_deleted(SHOES, range(1, 51))
    index.add(SHOES, range(51, 61), vectors[50:])
    assert sizes(index)[SHOES] == (10, 50, 2)


def test_a_label_in_a_full_shard_is_not_added_again(
    index: VectorIndex, clustered: MakeVectors
) -> None:
    vectors = clustered(60)
    index.add(SHOES, range(1, 61), vectors)
    index.mark_deleted(SHOES, [2])
    assert index.add(SHOES, [1, 2, 60], vectors[[0, 1, 59]]) == 0
    assert index.count(SHOES) == 59
    assert not index.contains(SHOES, 2)


def test_a_label_given_twice_across_the_end_of_a_shard_is_added_once(
    index: VectorIndex, clustered: MakeVectors
) -> None:
    vectors = clustered(51)
    index.add(SHOES, range(1, 50), vectors[:49])
    assert index.add(SHOES, [50, 50], vectors[49:]) == 1
    assert sizes(index)[SHOES] == (50, 0, 1)


def test_marking_counts_the_labels_that_were_never_seen(
    index: VectorIndex, clustered: MakeVectors
) -> None:
    vectors = clustered(60)
    index.add(SHOES, range(1, 61), vectors)
    assert index.mark_deleted(SHOES, [1, 55, 55, 777, 777, 778]) == 2
    assert index.mark_deleted(SHOES, [1, 55]) == 0
    assert index.count(SHOES) == 58
    assert index.mark_deleted(BAGS, [1, 1, 2]) == 2
    assert index.keys() == [SHOES]


def test_an_unseen_label_that_was_marked_is_live_once_added(
    index: VectorIndex, clustered: MakeVectors
) -> None:
    index.mark_deleted(SHOES, [1])
    index.add(SHOES, [1], clustered(1))
    assert index.contains(SHOES, 1)


def test_deletions_in_several_shards_never_shorten_the_list(
    index: VectorIndex, clustered: MakeVectors
) -> None:
    vectors = clustered(200)
    index.add(SHOES, range(1, 201), vectors)
    nearest = index.search([SHOES], vectors[:1], 185).labels.tolist()
    index.mark_deleted(SHOES, nearest)
    for k in (1, 14, 15, 200):
        found = index.search([SHOES], vectors[:1], k).labels.tolist()
        assert len(found) == min(k, 15)
        assert set(found).isdisjoint(nearest)


def test_a_shared_list_is_exact_over_shards_sets_and_queries(
    index: VectorIndex, clustered: MakeVectors, near: MoveVectors
) -> None:
    vectors = clustered(200)
    index.add(SHOES, range(1, 121), vectors[:120])
    index.add(BAGS, range(121, 201), vectors[120:])
    queries = near(vectors[[3, 77, 150]])
    best = (queries @ vectors.T).max(axis=0)
    labels, similarities = index.search([SHOES, BAGS, SHOES], queries, 30)
    assert labels.tolist() == (np.argsort(-best)[:30] + 1).tolist()
    np.testing.assert_allclose(similarities, np.sort(best)[::-1][:30], atol=1e-5)
    assert (labels.dtype, similarities.dtype) == (np.dtype(np.int64), np.dtype(np.float32))


def test_a_label_counts_by_its_best_similarity_to_any_query(index: VectorIndex) -> None:
    queries = np.eye(2, 32, dtype=np.float32)
    stored = np.zeros((2, 32), np.float32)
    stored[0, :2] = 0.6, 0.8
    stored[1, :2] = 0.96, 0.28
    index.add(SHOES, [1, 2], stored)
    labels, similarities = index.search([SHOES], queries, 5)
    assert labels.tolist() == [2, 1]
    assert similarities.tolist() == pytest.approx([0.96, 0.8], abs=1e-6)


def test_equal_similarities_go_by_label(index: VectorIndex) -> None:
    vectors = np.repeat(np.eye(1, 32, dtype=np.float32), 60, axis=0)
    index.add(SHOES, range(60, 0, -1), vectors)
    assert index.search([SHOES], vectors[:1], 200).labels.tolist() == list(range(1, 61))


def test_sets_know_nothing_of_each_other(index: VectorIndex, clustered: MakeVectors) -> None:
    vectors = clustered(30)
    index.add(SHOES, range(1, 11), vectors[:10])
    index.add(BAGS, range(11, 21), vectors[10:20])
    index.add(OTHER, range(1, 11), vectors[20:])
    assert set(index.search([BAGS], vectors[:1], 50).labels) == set(range(11, 21))
    index.mark_deleted(SHOES, range(1, 11))
    assert index.count(SHOES) == 0
    assert index.count(OTHER) == 10
    assert not index.contains(BAGS, 1)


def test_dropping_a_generation_takes_its_sets_alone(
    index: VectorIndex, clustered: MakeVectors
) -> None:
    vectors = clustered(3)
    for key in (SHOES, BAGS, OTHER):
        index.add(key, [1, 2, 3], vectors)
    assert index.drop_generation("generation-1") == 2
    assert index.keys() == [OTHER]
    assert index.search([SHOES, BAGS], vectors, 5).labels.size == 0
    assert index.search([OTHER], vectors, 5).labels.size == 3
    assert index.drop_generation("generation-1") == 0


@pytest.mark.parametrize("keys", [[], [SHOES], [SHOES, BAGS]])
def test_where_nothing_is_the_answer_is_empty(
    index: VectorIndex, clustered: MakeVectors, keys: list[SetKey]
) -> None:
    vectors = clustered(2)
    index.add(SHOES, [1], vectors[:1])
    index.mark_deleted(SHOES, [1])
    labels, similarities = index.search(keys, vectors, 5)
    assert labels.shape == similarities.shape == (0,)
    assert (labels.dtype, similarities.dtype) == (np.dtype(np.int64), np.dtype(np.float32))


def test_no_query_vectors_give_no_neighbours(index: VectorIndex, clustered: MakeVectors) -> None:
    index.add(SHOES, [1, 2], clustered(2))
    assert index.search([SHOES], np.empty((0, 32), np.float32), 5).labels.size == 0


def test_adding_nothing_opens_no_set(index: VectorIndex) -> None:
    assert index.add(SHOES, [], np.empty((0, 32), np.float32)) == 0
    assert index.keys() == []


def test_one_bad_vector_refuses_the_whole_batch(index: VectorIndex, clustered: MakeVectors) -> None:
    vectors = clustered(30)
    vectors[29, 0] = np.nan
    with pytest.raises(ValueError, match="vector 29"):
        index.add(SHOES, range(1, 31), vectors)
    assert index.keys() == []


@pytest.mark.parametrize("keys", [[], [SHOES]])
def test_a_bad_query_is_refused_even_where_nothing_is(
    index: VectorIndex, clustered: MakeVectors, keys: list[SetKey]
) -> None:
    with pytest.raises(ValueError, match="vectors must be"):
        index.search(keys, clustered(1, dimensions=31), 5)
    with pytest.raises(ValueError, match="k must be"):
        index.search(keys, clustered(1), 0)


def test_a_write_lock_is_held_for_few_vectors(
    clustered: MakeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indexer.hnsw.shard import Shard

    lengths: list[int] = []
    add = Shard.add

    def counted(shard: Shard, labels: list[int], vectors: np.ndarray) -> int:
        lengths.append(len(labels))
        return add(shard, labels, vectors)

    monkeypatch.setattr(Shard, "add", counted)
    index = VectorIndex(
        IndexOptions(dimensions=32, shard_capacity=100_000, vectors_per_write=3, exact_up_to=1)
    )
    index.add(SHOES, range(1, 9), clustered(8))
    assert lengths == [3, 3, 2]
