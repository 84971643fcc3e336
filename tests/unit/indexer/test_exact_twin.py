"""The engine on hnswlib beside its exact twin: whatever is done to both, they answer the same."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.key import SetKey
from indexer.memory import MemoryStore
from indexer.neighbours import Neighbours
from indexer.vector_store import SetNotReadyError, VectorStore
from indexer.vectors import in_one_array
from tests.unit.indexer.engines import DIMENSIONS
from tests.unit.indexer.vectors import MakeVectors, MoveVectors, Vectors

STEPS = 600
GENERATIONS = ("a", "b", "c")
KEYS = [SetKey(generation, category) for generation in GENERATIONS for category in "xy"]

Call = Callable[[VectorStore], Any]


def some_call(chance: random.Random, images: dict[int, Vectors], queries: Vectors) -> Call:
    """Return something to be done to a store; it returns what there is to compare."""
    key, generation = chance.choice(KEYS), chance.choice(GENERATIONS)
    labels = chance.sample(sorted(images), k=chance.randint(1, 12))
    added = in_one_array({label: images[label] for label in labels})
    query = queries[[chance.randrange(len(queries)) for _ in range(2)]]
    keys, k = chance.sample(KEYS, 3), chance.choice((1, 5, 1_000))
    is_last = chance.random() < 0.02
    calls: list[Call] = [
        *[lambda store: store.add(key, *added)] * 4,
        *[lambda store: store.search(keys, query, k)] * 6,
        *[lambda store: store.now_ready(key)] * 3,
        *[lambda store: store.mark_deleted(key, labels)] * 2,
        lambda store: store.revive(key, labels),
        lambda store: store.held(key, labels),
        lambda store: store.create(key),
        lambda store: set(store.keys_of(generation)),
        lambda store: store.learn(generation, [key]),
        lambda store: store.expect([generation]),
        lambda store: store.compact(0.3, threading.Event()),
        lambda store: store.drop_generation(generation, for_ever=is_last),
        lambda store: store.asked.take(GENERATIONS),
    ]
    return chance.choice(calls)


def answer(store: VectorStore, call: Call) -> Any:
    try:
        return call(store)
    except SetNotReadyError:
        return SetNotReadyError


def seen(store: VectorStore) -> dict[str, Any]:
    """Return what a store tells of itself."""
    return {
        "live": {key: store.live_labels(key) for key in KEYS},
        "counts": {key: store.count(key) for key in KEYS},
        "state": store.state(),
        "sets": (set(store.keys()), store.set_count, store.generations()),
        "not ready": set(store.not_ready()),
        "unknown": (store.unknown(), store.is_begun, store.is_complete),
    }


@pytest.mark.parametrize("exact_up_to", [1_000, 20])
@pytest.mark.parametrize(("seed", "parts"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 4), (6, 8)])
def test_both_engines_answer_the_same(
    clustered: MakeVectors, near: MoveVectors, exact_up_to: int, seed: int, parts: int
) -> None:
    """Without graphs, and with graphs that are asked for so much that they are exact."""
    options = IndexOptions(DIMENSIONS, 1_000, parts, exact_up_to=exact_up_to, ef_floor=1_000)
    index = VectorIndex(options, is_complete=False)
    twin = MemoryStore(DIMENSIONS, is_complete=False, parts=parts)
    chance, vectors = random.Random(seed), clustered(80 * parts)
    images = {n: vectors[parts * n - parts : parts * n - n % parts] for n in range(1, 81)}
    found = 0
    for _ in range(STEPS):
        call = some_call(chance, images, near(vectors))
        ours, exact = answer(index, call), answer(twin, call)
        if isinstance(exact, Neighbours):
            assert ours.labels.tolist() == exact.labels.tolist()
            np.testing.assert_allclose(ours.similarities, exact.similarities, atol=1e-6)
            found += len(exact.labels)
        else:
            assert ours == exact
        assert seen(index) == seen(twin)
    assert found > 100
