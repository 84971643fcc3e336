from __future__ import annotations

import numpy as np
import pytest

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.key import SetKey
from tests.unit.indexer.engines import sizes
from tests.unit.indexer.vectors import MakeVectors

SHOES = SetKey("generation-1", "shoes")
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


def test_a_set_that_is_gone_has_nothing_to_save_and_no_snapshot_is_logged(
    index: VectorIndex, clustered: MakeVectors, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="indexer.hnsw.index")
    index.add(SHOES, [1], clustered(1))
    index.drop_generation("generation-1")
    assert index.save(SHOES)
    assert caplog.messages == []
    index.add(OTHER, [1], clustered(1))
    assert index.save(OTHER)
    assert len(caplog.messages) == 1
