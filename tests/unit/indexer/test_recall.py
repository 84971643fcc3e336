from __future__ import annotations

import numpy as np

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.key import SetKey
from tests.unit.indexer.vectors import MakeVectors, MoveVectors

KEY = SetKey("generation", "category")


def recall(index: VectorIndex, queries: np.ndarray, expected: np.ndarray) -> float:
    found = [index.search([KEY], query[None], expected.shape[1]).labels for query in queries]
    hits = [len(set(one) & set(other)) for one, other in zip(found, expected, strict=True)]
    return sum(hits) / expected.size


def test_recall_at_10_is_99_in_100_among_20000_also_after_deletions(
    clustered: MakeVectors, near: MoveVectors
) -> None:
    vectors = clustered(20_000, dimensions=128)
    queries = near(vectors[::100])
    index = VectorIndex(IndexOptions(dimensions=128, shard_capacity=100_000))
    index.add(KEY, range(1, 20_001), vectors)
    assert index.state()[KEY].shards == 1
    similarities = queries @ vectors.T
    expected = np.argsort(-similarities, axis=1)[:, :10] + 1
    assert recall(index, queries, expected) >= 0.99

    deleted = np.arange(0, 20_000, 6)
    index.mark_deleted(KEY, (deleted + 1).tolist())
    similarities[:, deleted] = -2
    expected = np.argsort(-similarities, axis=1)[:, :10] + 1
    assert recall(index, queries, expected) >= 0.99
