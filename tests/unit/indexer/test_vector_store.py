"""What each engine behind the port does, the exact twin as well as hnswlib's."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from indexer.key import SetKey
from indexer.set_state import SetState
from indexer.vector_store import SetNotReadyError, VectorStore
from tests.unit.indexer.engines import ENGINES, Engine
from tests.unit.indexer.vectors import MakeVectors, MoveVectors

SHOES = SetKey("generation-1", "shoes")
BAGS = SetKey("generation-1", "bags")
OTHER = SetKey("generation-2", "shoes")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def store(engine: Engine) -> VectorStore:
    """Return a store all of whose sets are known."""
    return engine(True)


def asked_for(store: VectorStore) -> str | None:
    """Return the generation that a search waits for, and forget it; None if there is none."""
    asked = store.asked.take(["generation-1", "generation-2"])
    assert store.asked.take(["generation-1", "generation-2"]) is None
    return asked


def test_marking_counts_the_labels_that_were_never_seen(
    store: VectorStore, clustered: MakeVectors
) -> None:
    vectors = clustered(60)
    store.add(SHOES, range(1, 61), vectors)
    assert store.mark_deleted(SHOES, [1, 55, 55, 777, 777, 778]) == 2
    assert store.mark_deleted(SHOES, [1, 55]) == 0
    assert store.count(SHOES) == 58
    assert store.mark_deleted(BAGS, [1, 1, 2]) == 2
    assert store.keys() == [SHOES]


def test_an_unseen_label_that_was_marked_is_live_once_added(
    store: VectorStore, clustered: MakeVectors
) -> None:
    store.mark_deleted(SHOES, [1])
    store.add(SHOES, [1], clustered(1))
    assert store.contains(SHOES, 1)


def test_deletions_in_several_shards_never_shorten_the_list(
    store: VectorStore, clustered: MakeVectors
) -> None:
    vectors = clustered(200)
    store.add(SHOES, range(1, 201), vectors)
    nearest = store.search([SHOES], vectors[:1], 185).labels.tolist()
    store.mark_deleted(SHOES, nearest)
    for k in (1, 14, 15, 200):
        found = store.search([SHOES], vectors[:1], k).labels.tolist()
        assert len(found) == min(k, 15)
        assert set(found).isdisjoint(nearest)


def test_a_shared_list_is_exact_over_shards_sets_and_queries(
    store: VectorStore, clustered: MakeVectors, near: MoveVectors
) -> None:
    vectors = clustered(200)
    store.add(SHOES, range(1, 121), vectors[:120])
    store.add(BAGS, range(121, 201), vectors[120:])
    queries = near(vectors[[3, 77, 150]])
    best = (queries @ vectors.T).max(axis=0)
    labels, similarities = store.search([SHOES, BAGS, SHOES], queries, 30)
    assert labels.tolist() == (np.argsort(-best)[:30] + 1).tolist()
    np.testing.assert_allclose(similarities, np.sort(best)[::-1][:30], atol=1e-5)
    assert (labels.dtype, similarities.dtype) == (np.dtype(np.int64), np.dtype(np.float32))


def test_a_label_counts_by_its_best_similarity_to_any_query(store: VectorStore) -> None:
    queries = np.eye(2, 32, dtype=np.float32)
    stored = np.zeros((2, 32), np.float32)
    stored[0, :2] = 0.6, 0.8
    stored[1, :2] = 0.96, 0.28
    store.add(SHOES, [1, 2], stored)
    labels, similarities = store.search([SHOES], queries, 5)
    assert labels.tolist() == [2, 1]
    assert similarities.tolist() == pytest.approx([0.96, 0.8], abs=1e-6)


def test_equal_similarities_go_by_label(store: VectorStore) -> None:
    vectors = np.repeat(np.eye(1, 32, dtype=np.float32), 60, axis=0)
    store.add(SHOES, range(60, 0, -1), vectors)
    assert store.search([SHOES], vectors[:1], 200).labels.tolist() == list(range(1, 61))


def test_sets_know_nothing_of_each_other(store: VectorStore, clustered: MakeVectors) -> None:
    vectors = clustered(30)
    store.add(SHOES, range(1, 11), vectors[:10])
    store.add(BAGS, range(11, 21), vectors[10:20])
    store.add(OTHER, range(1, 11), vectors[20:])
    assert set(store.search([BAGS], vectors[:1], 50).labels) == set(range(11, 21))
    store.mark_deleted(SHOES, range(1, 11))
    assert store.count(SHOES) == 0
    assert store.count(OTHER) == 10
    assert not store.contains(BAGS, 1)


def test_dropping_a_generation_takes_its_sets_alone(
    store: VectorStore, clustered: MakeVectors
) -> None:
    vectors = clustered(3)
    for key in (SHOES, BAGS, OTHER):
        store.add(key, [1, 2, 3], vectors)
    assert store.drop_generation("generation-1") == 2
    assert store.keys() == [OTHER]
    assert store.search([SHOES, BAGS], vectors, 5).labels.size == 0
    assert store.search([OTHER], vectors, 5).labels.size == 3
    assert store.drop_generation("generation-1") == 0


@pytest.mark.parametrize("keys", [[], [SHOES], [SHOES, BAGS]])
def test_where_nothing_is_the_answer_is_empty(
    store: VectorStore, clustered: MakeVectors, keys: list[SetKey]
) -> None:
    vectors = clustered(2)
    store.add(SHOES, [1], vectors[:1])
    store.mark_deleted(SHOES, [1])
    labels, similarities = store.search(keys, vectors, 5)
    assert labels.shape == similarities.shape == (0,)
    assert (labels.dtype, similarities.dtype) == (np.dtype(np.int64), np.dtype(np.float32))


def test_no_query_vectors_give_no_neighbours(store: VectorStore, clustered: MakeVectors) -> None:
    store.add(SHOES, [1, 2], clustered(2))
    assert store.search([SHOES], np.empty((0, 32), np.float32), 5).labels.size == 0


def test_adding_nothing_opens_no_set(store: VectorStore) -> None:
    assert store.add(SHOES, [], np.empty((0, 32), np.float32)) == 0
    assert store.keys() == []


def test_one_bad_vector_refuses_the_whole_batch(store: VectorStore, clustered: MakeVectors) -> None:
    vectors = clustered(30)
    vectors[29, 0] = np.nan
    with pytest.raises(ValueError, match="vector 29"):
        store.add(SHOES, range(1, 31), vectors)
    assert store.keys() == []


@pytest.mark.parametrize("keys", [[], [SHOES]])
def test_a_bad_query_is_refused_even_where_nothing_is(
    store: VectorStore, clustered: MakeVectors, keys: list[SetKey]
) -> None:
    with pytest.raises(ValueError, match="vectors must be"):
        store.search(keys, clustered(1, dimensions=31), 5)
    with pytest.raises(ValueError, match="k must be"):
        store.search(keys, clustered(1), 0)


def test_what_no_engine_can_take_is_refused_and_adds_nothing(
    store: VectorStore, clustered: MakeVectors
) -> None:
    good = clustered(2)
    for labels, vectors, fault in (
        ([1, 0], good, "label 0"),
        ([1, 2**60], good, "label"),
        ([1, 1], good, "label 1 has 2 vectors"),
        ([1], good, "1 labels for 2 vectors"),
        ([1, 2], good * np.array([[1], [1.1]], np.float32), "vector 1 has the norm"),
        ([1, 2], good.astype(np.float64), "float32"),
        ([1, 2], clustered(2, dimensions=31), "must be"),
    ):
        with pytest.raises(ValueError, match=fault):
            store.add(SHOES, labels, vectors)  # type: ignore[arg-type]
    assert store.keys() == []


def test_a_deleted_label_comes_back_by_revive_and_not_by_add(
    store: VectorStore, clustered: MakeVectors
) -> None:
    vectors = clustered(3)
    store.add(SHOES, [1, 2, 3], vectors)
    store.mark_deleted(SHOES, [1, 2])
    assert store.add(SHOES, [1], vectors[:1]) == 0
    assert store.live_labels(SHOES) == {3}
    assert store.held(SHOES, [1, 2, 3, 4]) == {1, 2, 3}
    assert store.revive(SHOES, [1, 3, 4]) == {1}
    assert store.revive(SHOES, [1]) == set()
    assert store.live_labels(SHOES) == {1, 3}
    assert store.search([SHOES], vectors[:1], 1).labels.tolist() == [1]


def test_the_vector_of_a_label_never_changes(store: VectorStore) -> None:
    first, second = np.eye(2, 32, dtype=np.float32)[:, np.newaxis]
    assert store.add(SHOES, [1], first) == 1
    assert store.add(SHOES, [1], second) == 0
    store.mark_deleted(SHOES, [1])
    assert store.add(SHOES, [1], second) == 0
    store.revive(SHOES, [1])
    assert store.search([SHOES], first, 1).similarities.tolist() == pytest.approx([1.0])


def test_a_set_that_is_not_there_is_empty(store: VectorStore) -> None:
    assert store.live_labels(SHOES) == store.held(SHOES, [1]) == store.revive(SHOES, [1]) == set()
    assert (store.count(SHOES), store.contains(SHOES, 1), store.is_ready(SHOES)) == (
        0,
        False,
        False,
    )
    store.now_ready(SHOES)
    assert (store.keys(), store.set_count, store.state()) == ([], 0, {})
    assert store.save(SHOES)


@pytest.mark.parametrize("for_ever", [True, False])
def test_a_generation_that_was_dropped_for_ever_takes_nothing_any_more(
    store: VectorStore, clustered: MakeVectors, *, for_ever: bool
) -> None:
    store.add(SHOES, [1], clustered(1))
    assert store.drop_generation("generation-1", for_ever=for_ever) == 1
    assert store.add(SHOES, [1], clustered(1)) == (0 if for_ever else 1)
    store.create(BAGS)
    assert set(store.keys_of("generation-1")) == (set() if for_ever else {SHOES, BAGS})
    assert store.generations() == (set() if for_ever else {"generation-1"})


def test_the_state_of_a_set_tells_what_it_holds(store: VectorStore, clustered: MakeVectors) -> None:
    store.add(SHOES, [1, 2, 3], clustered(3))
    store.mark_deleted(SHOES, [2])
    store.create(BAGS)
    states = store.state()
    assert states[SHOES] == SetState(2, 1, 1, ready=True, loaded=True, snapshot_seconds=None)
    assert states[BAGS] == SetState(0, 0, 0, ready=False, loaded=True, snapshot_seconds=None)
    assert (store.count(SHOES), store.set_count) == (2, 2)
    assert store.memory_bytes >= 3 * 32 * 4


def test_past_the_share_compaction_lets_deleted_labels_go(
    store: VectorStore, clustered: MakeVectors
) -> None:
    vectors = clustered(10)
    store.add(SHOES, range(1, 11), vectors)
    store.add(BAGS, range(1, 11), vectors)
    store.mark_deleted(SHOES, [1, 2])
    store.mark_deleted(BAGS, [1, 2])
    assert store.compact(0.2, threading.Event()) == 0
    store.mark_deleted(SHOES, [3])
    assert store.compact(0.2, threading.Event()) == 1
    assert store.held(SHOES, range(1, 11)) == set(range(4, 11))
    assert store.held(BAGS, [1, 2]) == {1, 2}
    assert store.revive(SHOES, [1]) == set()
    assert store.add(SHOES, [1], vectors[:1]) == 1
    assert store.search([SHOES], vectors[:1], 1).labels.tolist() == [1]


def test_nothing_is_known_before_it_is_said_what_is_not(
    engine: Engine, clustered: MakeVectors
) -> None:
    store = engine(False)
    assert (store.is_begun, store.is_complete, store.unknown()) == (False, False, frozenset())
    assert not store.is_known("generation-1")
    with pytest.raises(SetNotReadyError):
        store.search([SHOES], clustered(1), 1)
    store.learn("generation-1", [SHOES])
    assert not store.is_known("generation-1")
    store.expect([])
    assert (store.is_begun, store.is_complete) == (True, True)
    assert store.is_known("generation-1")
    assert store.keys_of("generation-1") == [SHOES]


def test_sets_of_an_unknown_generation_are_not_ready_and_those_of_a_known_one_are(
    engine: Engine, clustered: MakeVectors
) -> None:
    store = engine(False)
    store.expect(["generation-1"])
    store.add(SHOES, [1], clustered(1))
    store.add(OTHER, [2], clustered(1))
    assert store.unknown() == {"generation-1"}
    assert not store.is_complete
    assert (store.not_ready(), store.not_ready_of("generation-2")) == ([SHOES], [])
    assert store.search([OTHER], clustered(1), 1).labels.tolist() == [2]
    store.learn("generation-1", [SHOES, BAGS])
    store.learn("generation-1", [SetKey("generation-1", "known already, so not created")])
    assert (store.is_complete, set(store.not_ready())) == (True, {SHOES, BAGS})
    assert set(store.keys_of("generation-1")) == set(store.not_ready_of("generation-1"))
    store.now_ready(SHOES)
    store.now_ready(BAGS)
    assert store.not_ready() == []
    assert store.search([SHOES, BAGS], clustered(1), 5).labels.tolist() == [1]


def test_a_store_without_snapshots_has_nothing_to_save_and_no_checkpoint(
    engine: Engine, clustered: MakeVectors
) -> None:
    store = engine(False)
    store.add(SHOES, [1], clustered(1))
    store.keep_checkpoint(1_000)
    store.remove_checkpoint()
    assert (store.checkpoint, store.is_checkpoint_due) == (None, True)
    assert (store.unsaved(), store.unsaved_seconds(), store.not_saved()) == ({}, 0.0, {})
    assert (store.whole(), store.lost_generations, store.lost_within(60.0)) == ([], frozenset(), 0)
    assert store.save(SHOES)
    assert store.unload_beyond(0, idle_seconds=0) == 0
    assert store.live_labels(SHOES) == {1}


def test_a_search_asks_for_what_is_unknown_or_not_ready_and_for_nothing_else(
    engine: Engine, clustered: MakeVectors
) -> None:
    vectors = clustered(1)
    store = engine(False)
    store.expect(["generation-1"])
    store.search([OTHER], vectors, 1)
    assert store.keys_of("generation-2") == []
    assert asked_for(store) is None
    with pytest.raises(SetNotReadyError):
        store.search([SHOES], vectors, 1)
    assert asked_for(store) == "generation-1"
    with pytest.raises(SetNotReadyError):
        store.keys_of("generation-1")
    assert asked_for(store) == "generation-1"
    store.learn("generation-1", [SHOES])
    with pytest.raises(SetNotReadyError):
        store.search([SHOES], vectors, 1)
    assert asked_for(store) == "generation-1"
    store.now_ready(SHOES)
    store.search([SHOES], vectors, 1)
    assert asked_for(store) is None


@pytest.mark.parametrize("for_ever", [True, False])
def test_a_generation_that_was_dropped_is_not_asked_for(
    store: VectorStore, clustered: MakeVectors, *, for_ever: bool
) -> None:
    store.create(SHOES)
    with pytest.raises(SetNotReadyError):
        store.search([SHOES], clustered(1), 1)
    store.drop_generation("generation-1", for_ever=for_ever)
    assert asked_for(store) is None
