from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from indexer.hnsw.exact_shard import ExactShard
from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.key import SetKey
from tests.unit.indexer.engines import ENGINES
from tests.unit.indexer.vectors import MakeVectors

SECONDS = 2.0
KEY = SetKey("generation", "shared")
OWN_SHARE = 1_000_000  # labels of one adding thread lie this far from the next one's


def test_threads_that_add_search_and_mark_lose_nothing(clustered: MakeVectors) -> None:
    vectors = clustered(20_000)
    index = VectorIndex(IndexOptions(dimensions=32, shard_capacity=1_500, exact_up_to=300))
    added: list[dict[int, int]] = [{}, {}]
    marked: set[int] = set()
    begun = time.monotonic()
    searches = 0

    def goes_on() -> bool:
        # A loaded machine has until later to show something.
        return time.monotonic() < begun + (SECONDS if searches > 5 and marked else 100)

    def add(number: int) -> None:
        start = number * 10_000
        while goes_on() and start + 16 <= (number + 1) * 10_000:
            places = range(start, start + 16)
            labels = [number * OWN_SHARE + place + 1 for place in places]
            assert index.add(KEY, labels, vectors[places]) == 16
            assert all(index.contains(KEY, label) for label in labels)
            added[number].update(zip(labels, places, strict=True))
            start += 16

    def mark() -> None:
        while goes_on():
            for label in [label for label in list(added[0])[-64:] if label % 7 == 0]:
                assert index.mark_deleted(KEY, [label]) == 0
                marked.add(label)
            time.sleep(0.005)

    def search() -> None:
        nonlocal searches
        while goes_on():
            gone = set(marked)
            labels, similarities = index.search([KEY], vectors[:2], 20)
            assert gone.isdisjoint(labels.tolist())
            assert (np.diff(similarities) <= 0).all()
            searches += 1

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(add, 0), pool.submit(add, 1), pool.submit(mark), pool.submit(search)]
        for one in work:
            one.result()
    everything = added[0] | added[1]
    assert searches > 5
    assert marked
    assert index.count(KEY) == len(everything) - len(marked)
    for label in list(everything)[::150]:
        query = vectors[everything[label]][None]
        assert (label in index.search([KEY], query, 5).labels) == (label not in marked)


@pytest.mark.parametrize(("engine", "shards"), [("rows", 8), ("graphs", 8), ("memory", 1)])
def test_threads_that_add_the_same_labels_add_them_once(
    clustered: MakeVectors, engine: str, shards: int
) -> None:
    vectors = clustered(400)
    store = ENGINES[engine](True)
    together = threading.Barrier(4)

    def add() -> int:
        together.wait()
        return store.add(KEY, range(1, 401), vectors)

    with ThreadPoolExecutor(4) as pool:
        counts = [one.result() for one in [pool.submit(add) for _ in range(4)]]
    assert sum(counts) == store.count(KEY) == 400
    assert store.state()[KEY].shards == shards


def test_a_held_set_does_not_stall_another(clustered: MakeVectors) -> None:
    vectors = clustered(10)
    index = VectorIndex(IndexOptions(dimensions=32, shard_capacity=100_000))
    other = SetKey("generation", "other")
    index.add(KEY, [1], vectors[:1])
    held = index._sets[KEY]
    (shard,) = held._shards or ()
    assert isinstance(shard, ExactShard)
    with held._changing, shard._changing, ThreadPoolExecutor(1) as pool:
        pool.submit(index.add, other, range(1, 11), vectors).result(timeout=10)
        pool.submit(index.search, [other], vectors, 3).result(timeout=10)
        pool.submit(index.mark_deleted, other, [1]).result(timeout=10)
        assert pool.submit(index.state).result(timeout=10)[other].live == 9
