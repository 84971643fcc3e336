"""Searches that find a set not ready are remembered by its generation, and come first."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer import generations as module
from indexer.generations import AskedGenerations
from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory
from indexer.key import SetKey
from indexer.vector_store import SetNotReadyError
from tests.unit.indexer.vectors import MakeVectors

OPTIONS = IndexOptions(dimensions=32, shard_capacity=100)
KEY = SetKey("1", "x")
EVERY = ["1", "2", "3"]


def asked_for(asked: AskedGenerations) -> list[str]:
    """Return what is remembered, and forget it."""
    found = []
    while (one := asked.take(EVERY)) is not None:
        found.append(one)
    return found


def test_items_keep_their_order_while_nothing_is_asked_for() -> None:
    keys = [SetKey(generation, "x") for generation in ("2", "1", "3", "1", "2")]
    assert list(AskedGenerations().first(keys)) == keys


def test_what_is_asked_for_comes_next_each_item_once() -> None:
    asked = AskedGenerations()
    keys = [
        SetKey("1", "a"),
        SetKey("2", "a"),
        SetKey("1", "b"),
        SetKey("3", "a"),
        SetKey("3", "b"),
    ]
    order = asked.first(keys)
    assert next(order) == keys[0]
    asked.note("3")
    asked.note("1")
    assert next(order) == keys[3]
    asked.note("3")
    asked.note("3")
    assert list(order) == [keys[4], keys[2], keys[1]]
    assert asked_for(asked) == ["3"], "its items were under way, so it is asked for still"


def test_what_is_not_among_the_items_is_asked_for_still() -> None:
    asked = AskedGenerations()
    for generation in ("3", "2", "3"):
        asked.note(generation)
    assert list(asked.first([SetKey("1", "x"), SetKey("2", "x")])) == [
        SetKey("2", "x"),
        SetKey("1", "x"),
    ]
    assert asked_for(asked) == ["3"]


def test_no_more_than_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASKED", 2)
    asked = AskedGenerations()
    for generation in ("1", "2", "1", "3"):
        asked.note(generation)
    assert asked_for(asked) == ["2", "3"]


def test_a_search_that_waits_for_a_set_to_be_loaded_asks_for_nothing(
    tmp_path: Path, clustered: MakeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered(1)
    index = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS))
    index.add(KEY, [1], vectors)
    assert index.save(KEY)
    assert index._sets[KEY].unload()
    monkeypatch.setattr("indexer.hnsw.index.LOAD_PATIENCE", 0.01)
    with index._sets[KEY]._changing, pytest.raises(SetNotReadyError):
        index.search([KEY], vectors, 1)
    assert asked_for(index.asked) == []


def test_a_search_that_finds_a_snapshot_damaged_asks_for_its_set(
    tmp_path: Path, clustered: MakeVectors
) -> None:
    vectors = clustered(1)
    index = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS))
    index.add(KEY, [1], vectors)
    assert index.save(KEY)
    assert index._sets[KEY].unload()
    (path,) = tmp_path.glob("*/*.rows")
    path.write_bytes(b"nothing")
    with pytest.raises(SetNotReadyError):
        index.search([KEY], vectors, 1)
    assert asked_for(index.asked) == ["1"]
