"""Images with several vectors: each counts once, by its best, and comes and goes as a whole."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from indexer.hnsw.exact_shard import ExactShard
from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.shard import Shard
from indexer.hnsw.snapshots.directory import SnapshotDirectory
from indexer.key import SetKey
from indexer.memory import MemoryStore
from indexer.vector_store import VectorStore
from indexer.vectors import faults_of, in_one_array
from tests.unit.indexer.engines import sizes
from tests.unit.indexer.vectors import MakeVectors, MoveVectors, Vectors

DIMENSIONS = 32
PARTS = 4
SHOES, BAGS = SetKey("1", "shoes"), SetKey("1", "bags")
STEPS = 150
TOPKS = (1, 2, 7, 50, 200)


def options(exact_up_to: int = 2_000, ef_floor: int = 100) -> IndexOptions:
    return IndexOptions(DIMENSIONS, 200, PARTS, exact_up_to=exact_up_to, ef_floor=ef_floor)


ENGINES: dict[str, Callable[[], VectorStore]] = {
    "rows": lambda: VectorIndex(options()),
    "graphs": lambda: VectorIndex(options(exact_up_to=1, ef_floor=2_000)),
    "memory": lambda: MemoryStore(DIMENSIONS, parts=PARTS),
}


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest) -> VectorStore:
    return ENGINES[request.param]()


def some_images(clustered: MakeVectors, count: int, seed: int = 1) -> dict[int, Vectors]:
    """Return images under labels from 1, of one vector up to PARTS."""
    vectors = clustered(PARTS * count, seed=seed)
    return {
        label: vectors[PARTS * (label - 1) : PARTS * (label - 1) + 1 + label % PARTS]
        for label in range(1, count + 1)
    }


@dataclass
class Images:
    """What a store must answer, by comparing everything; no code of the index is used."""

    vectors: dict[int, Vectors]
    live: dict[int, SetKey] = field(default_factory=dict)

    def nearest(
        self, keys: list[SetKey], queries: Vectors, k: int
    ) -> tuple[list[int], list[float]]:
        """Return the labels and the similarities of the `k` nearest images."""
        best = {
            label: float((queries @ self.vectors[label].T).max())
            for label, key in self.live.items()
            if key in keys
        }
        order = sorted(best, key=lambda label: (-best[label], label))[:k]
        return order, [best[label] for label in order]


@pytest.mark.parametrize("seed", range(4))
def test_images_come_once_by_their_best_pair_whatever_was_done_before(
    store: VectorStore, clustered: MakeVectors, near: MoveVectors, seed: int
) -> None:
    """Adding, deleting, moving to another category and back, and compacting, in any order."""
    chance = random.Random(seed)
    images = Images(some_images(clustered, 300, seed))
    queries = near(np.concatenate(list(images.vectors.values())))
    for step in range(STEPS):
        labels = chance.sample(sorted(images.vectors), k=chance.randint(1, 40))
        match chance.choice(("add", "add", "add", "delete", "move", "compact")):
            case "add":
                for key in (SHOES, BAGS):
                    some = [
                        n for n in labels if images.live.get(n, SHOES if n % 3 else BAGS) == key
                    ]
                    if some:
                        store.revive(key, some)
                        store.add(key, *in_one_array({n: images.vectors[n] for n in some}))
                        images.live |= dict.fromkeys(some, key)
            case "delete":
                for key in (SHOES, BAGS):
                    store.mark_deleted(key, labels)
                for label in labels:
                    images.live.pop(label, None)
            case "move":
                there = [label for label in labels if label in images.live]
                target = chance.choice((SHOES, BAGS))
                if there:
                    store.revive(target, there)
                    store.add(target, *in_one_array({n: images.vectors[n] for n in there}))
                    store.mark_deleted(BAGS if target == SHOES else SHOES, there)
                    images.live |= dict.fromkeys(there, target)
            case "compact":
                store.compact(0.2, threading.Event())
        query = queries[chance.sample(range(len(queries)), k=chance.randint(1, PARTS))]
        keys = chance.choice(([SHOES], [BAGS], [SHOES, BAGS]))
        k = TOPKS[step % len(TOPKS)]
        found = store.search(keys, query, k)
        labels_wanted, similarities = images.nearest(keys, query, k)
        assert found.labels.tolist() == labels_wanted
        np.testing.assert_allclose(found.similarities, similarities, atol=1e-5)
        assert {key: store.count(key) for key in (SHOES, BAGS)} == {
            key: list(images.live.values()).count(key) for key in (SHOES, BAGS)
        }
        assert store.live_labels(SHOES) == {n for n, key in images.live.items() if key == SHOES}


@pytest.mark.parametrize("k", [1, 10, 70, 200])
def test_a_graph_fills_the_list_though_parts_of_few_images_are_nearest(
    clustered: MakeVectors, near: MoveVectors, k: int
) -> None:
    """Ten images have all their parts beside the query, before those of all others."""
    query = clustered(1)
    crowd = np.concatenate([near(query, seed=seed) for seed in range(10 * PARTS)])
    others = clustered(600, seed=9)
    shard = Shard(IndexOptions(DIMENSIONS, 10_000, PARTS, exact_up_to=1))
    shard.add([label for label in range(1, 11) for _ in range(PARTS)], crowd)
    shard.add(range(11, 611), others)
    best = np.concatenate([(crowd @ query[0]).reshape(10, PARTS).max(axis=1), others @ query[0]])
    found = shard.search(query, k)
    assert found.labels.shape == (1, k)
    assert found.labels[0].tolist() == (np.argsort(-best)[:k] + 1).tolist()


def test_what_the_graph_does_not_reach_is_found_exactly_with_parts(clustered: MakeVectors) -> None:
    images = some_images(clustered, 300)
    shard = Shard(IndexOptions(DIMENSIONS, 10_000, PARTS, m=2, ef_construction=1, exact_up_to=1))
    shard.add(*in_one_array(images))
    shard.mark_deleted(range(1, 51))
    images = {label: parts for label, parts in images.items() if label > 50}
    query = clustered(2, seed=5)
    found = shard.search(query, 250)
    for row, labels in zip(query, found.labels, strict=True):
        best = {label: float((parts @ row).max()) for label, parts in images.items()}
        assert labels.tolist() == sorted(best, key=lambda label: -best[label])


def test_all_parts_of_an_image_are_added_or_none(
    store: VectorStore, clustered: MakeVectors
) -> None:
    vectors = clustered(6)
    assert store.add(SHOES, [1, 1, 2, 2, 2, 2], vectors) == 2
    assert store.add(SHOES, [1, 1, 1], vectors[3:]) == 0
    assert store.search([SHOES], vectors[:1], 5).labels.tolist()[0] == 1
    for labels, fault in (
        ([3, 3, 3, 3, 3, 3], "label 3 has 6 vectors, not 1 to 4"),
        ([3, 4, 3, 4, 5, 6], "label 3 do not follow one another"),
    ):
        with pytest.raises(ValueError, match=fault):
            store.add(SHOES, labels, vectors)
    assert store.live_labels(SHOES) == {1, 2}


def test_all_parts_of_an_image_are_in_one_shard(clustered: MakeVectors) -> None:
    index = VectorIndex(IndexOptions(DIMENSIONS, shard_capacity=10, parts=PARTS))
    images = {label: clustered(PARTS, seed=label) for label in range(1, 6)}
    assert index.add(SHOES, *in_one_array(images)) == 5
    assert sizes(index) == {SHOES: (5, 0, 3)}
    shards = index._sets[SHOES]._shards or ()
    assert sorted(label for shard in shards for label in shard.live_labels()) == [1, 2, 3, 4, 5]
    assert index.mark_deleted(SHOES, [2, 3, 9]) == 1
    assert sizes(index) == {SHOES: (3, 2, 3)}
    assert set(index.search([SHOES], images[2], 50).labels.tolist()) == {1, 4, 5}


@pytest.mark.parametrize(("exact_up_to", "kind"), [(2_000, ExactShard), (50, Shard)])
def test_parts_are_saved_and_loaded_as_they_were(
    tmp_path: Path, clustered: MakeVectors, near: MoveVectors, exact_up_to: int, kind: type
) -> None:
    chosen = IndexOptions(DIMENSIONS, 10_000, PARTS, exact_up_to=exact_up_to, ef_floor=2_000)

    def opened() -> VectorIndex:
        index = VectorIndex(chosen, SnapshotDirectory(tmp_path, "model", chosen))
        index.now_ready(SHOES)
        return index

    images = {2**59 + label: parts for label, parts in some_images(clustered, 120).items()}
    before = opened()
    before.add(SHOES, *in_one_array(images))
    before.mark_deleted(SHOES, [2**59 + 3, 2**59 + 4])
    assert before.save(SHOES)
    after = opened()
    assert sizes(after) == sizes(before) == {SHOES: (118, 2, 1)}
    query = near(images[2**59 + 7])
    assert after.search([SHOES], query, 200).labels.tolist() == (
        before.search([SHOES], query, 200).labels.tolist()
    )
    assert {type(shard) for shard in after._sets[SHOES]._shards or ()} == {kind}
    assert after.revive(SHOES, [2**59 + 3, 2**59 + 4]) == {2**59 + 3, 2**59 + 4}
    found = after.search([SHOES], images[2**59 + 3][-1:], 1)
    assert (found.labels.tolist(), found.similarities.tolist()) == ([2**59 + 3], pytest.approx([1]))


def test_a_graph_of_few_vectors_is_read_as_rows_with_their_parts(
    tmp_path: Path, clustered: MakeVectors
) -> None:
    images = some_images(clustered, 30)
    graphs = VectorIndex(options(1), SnapshotDirectory(tmp_path, "model", options()))
    graphs.add(SHOES, *in_one_array(images))
    graphs.mark_deleted(SHOES, [3])
    assert graphs.save(SHOES)
    rows = VectorIndex(options(), SnapshotDirectory(tmp_path, "model", options()))
    rows.now_ready(SHOES)
    assert rows.search([SHOES], images[5][:1], 1).labels.tolist() == [5]
    assert {type(shard) for shard in rows._sets[SHOES]._shards or ()} == {ExactShard}
    assert rows.revive(SHOES, [3]) == {3}
    assert rows.search([SHOES], images[3][-1:], 1).labels.tolist() == [3]


def test_a_file_is_of_another_index_if_a_label_has_more_parts_than_there_are(
    tmp_path: Path, clustered: MakeVectors, caplog: pytest.LogCaptureFixture
) -> None:
    images = {label: clustered(3, seed=label) for label in range(1, 20)}
    for exact_up_to in (1, 2_000):
        many, few = (
            IndexOptions(DIMENSIONS, 200, parts, exact_up_to=exact_up_to) for parts in (3, 2)
        )
        folder = tmp_path / str(exact_up_to)
        index = VectorIndex(many, SnapshotDirectory(folder, "model", many))
        index.add(SHOES, *in_one_array(images))
        assert index.save(SHOES)
        other = VectorIndex(few, SnapshotDirectory(folder, "model", few))
        caplog.clear()
        assert other.live_labels(SHOES) == set()
        assert caplog.text.count("is lost, it will be built anew") == 1


def test_one_bad_part_makes_an_image_bad(clustered: MakeVectors) -> None:
    good = clustered(3)
    bad = good.copy()
    bad[1, 0] = np.nan
    vectors = {1: good, 2: bad, 3: good[:0], 4: clustered(5), 5: good[:, :31], 6: good[:1]}
    faults = faults_of(vectors, DIMENSIONS, PARTS)
    assert faults.keys() == {2, 3, 4, 5}
    assert "vector 1 has a number that is not finite" in faults[2]
    assert faults[3] == "an image has 1 to 4 vectors, not 0"
    assert faults[4] == "an image has 1 to 4 vectors, not 5"


def test_more_parts_than_keys_or_than_a_shard_takes_are_refused() -> None:
    for parts, capacity in ((9, 100), (4, 3)):
        with pytest.raises(ValueError, match="parts must be at most 8"):
            IndexOptions(DIMENSIONS, capacity, parts)
