"""What the index process holds after a start: exactly what the rows say, whatever was on disk."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from catalog.rows.blobs import Vectors
from catalog.rows.images import Failure
from catalog.store import Catalog
from config.settings import settings
from indexer.keeper import Keeper, KeeperOptions
from indexer.key import SetKey
from tests.integration.workers.index.rows import (
    CLOTHES,
    MODEL,
    OTHER,
    SHOES,
    feature,
    forbid_comparison,
    found,
    keep,
    opened,
    put,
    rows,
    save,
)
from workers.index_process import set_repair
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.set_repair import SetRepair


def test_a_restart_finds_the_same_from_snapshots_alone(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 251))
    put(catalog, range(251, 301), OTHER)
    before = start()
    save(before)

    def forbidden(*_: object) -> None:
        raise AssertionError("a feature was read although the snapshots are whole")

    monkeypatch.setattr(Vectors, "get", forbidden)
    after = start()
    opened(after)
    for label in (1, 100, 250):
        assert found(after, label) == found(before, label)
        assert found(after, label)[0] == label
    assert found(after, 300, OTHER) == found(before, 300, OTHER)
    state = after.state()
    assert state[SHOES][:5] == (250, 0, 3, True, True)
    assert state[SHOES].snapshot_seconds is not None


def test_what_changed_while_the_process_was_down_is_made_good(
    catalog: Catalog, start: Callable[..., CatalogIndex]
) -> None:
    put(catalog, range(1, 151))
    save(start())
    put(catalog, range(151, 161))
    put(catalog, [500], CLOTHES)
    catalog.images.delete([1, 2, 3])
    # These went through a whole deletion and purge.
    catalog.images.delete([4, 5])
    catalog.vectors.remove([4, 5])
    after = start()
    opened(after)
    assert set(found(after, 1)) == set(range(6, 161))
    assert found(after, 500, CLOTHES) == [500]


def test_without_snapshots_it_is_built_from_the_rows_with_progress_in_the_log(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 121))
    put(catalog, range(121, 131), OTHER)
    catalog.images.delete([7])
    catalog.images.insert(rows([900]))
    catalog.vectors.put(MODEL.model_id, {900: feature(900)})
    catalog.images.fail([900], Failure(message="INSERT_IMAGE_ERROR"))
    monkeypatch.setattr(set_repair, "PAGE", 50)
    monkeypatch.setattr(set_repair, "PROGRESS_SECONDS", 0.0)
    shards = start()
    with structlog.testing.capture_logs() as lines:
        opened(shards)
    assert set(found(shards, 1)) == set(range(1, 121)) - {7}
    assert set(found(shards, 121, OTHER)) == set(range(121, 131))
    progress = [(n["done"], n["of"]) for n in lines if n["event"] == "building a set"]
    assert progress == [(10, 10), (50, 119), (100, 119), (119, 119)]
    assert [n["images"] for n in lines if n["event"] == "set ready"] == [10, 119]


@pytest.mark.parametrize("damage", ["shard", "manifest", "folder"])
def test_a_damaged_snapshot_is_built_anew(
    catalog: Catalog, start: Callable[..., CatalogIndex], directory: Path, damage: str
) -> None:
    put(catalog, range(1, 151))
    save(start())
    (folder,) = directory.iterdir()
    if damage == "folder":
        shutil.rmtree(folder)
    else:
        victim = folder / "manifest" if damage == "manifest" else sorted(folder.glob("*.rows"))[0]
        victim.write_bytes(victim.read_bytes()[:-1])
    after = start()
    opened(after)
    assert set(found(after, 1)) == set(range(1, 151))
    save(after)
    assert set(found_by_restart(start, 1)) == set(range(1, 151))


def found_by_restart(start: Callable[..., CatalogIndex], label: int) -> list[int]:
    shards = start()
    opened(shards)
    return found(shards, label)


def test_snapshots_of_another_model_are_not_used(
    catalog: Catalog, start: Callable[..., CatalogIndex], directory: Path
) -> None:
    put(catalog, range(1, 21))
    save(start())
    kept = catalog.client[settings().mongo_database]
    kept["models"].update_many(
        {"_id": {"$in": ["current", "first"]}}, {"$set": {"model_id": "another"}}
    )
    kept["collections"].update_many({}, {"$set": {"model_id": "another"}})
    put_for = {label: feature(label + 1000) for label in range(21, 31)}
    catalog.images.insert(rows(put_for))
    catalog.images.succeed(list(put_for))
    catalog.vectors.put("another", put_for)
    after = start()
    opened(after)
    assert set(found(after, 1)) == set(range(21, 31))
    assert list(directory.iterdir()) == []


def test_a_stop_in_the_middle_keeps_what_was_built(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 201))
    monkeypatch.setattr(set_repair, "PAGE", 50)
    shards = start()
    read: list[int] = []
    get = Vectors.get

    def stop_after_two(vectors: Vectors, labels: Any, model_id: str) -> Any:
        read.extend(labels)
        if len(read) == 100:
            keeper.begin_stop()
        return get(vectors, labels, model_id)

    monkeypatch.setattr(Vectors, "get", stop_after_two)
    keeper = Keeper(shards.restore, KeeperOptions(3600, 10**9, 0.2))
    keeper.start()
    keeper._thread.join(30)
    keeper.stop(10)
    assert len(read) == 100

    read.clear()
    after = start()
    opened(after)
    assert len(read) == 100, "only what the snapshot of the half-built set lacks"
    assert set(found(after, 1)) == set(range(1, 201))


def test_a_kill_in_the_middle_keeps_the_sets_that_were_built(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process hangs while it builds the last set, until the next one is done."""
    keys = [SetKey(f"{name}1", "x") for name in "abc"]
    for number, key in enumerate(keys):
        put(catalog, range(100 * number + 1, 100 * number + 12 + number), key)
    is_hanging, go_on = threading.Event(), threading.Event()
    read: list[int] = []
    get = Vectors.get

    def hang(vectors: Vectors, labels: Any, model_id: str) -> Any:
        read.extend(labels)
        if not is_hanging.is_set() and 201 in labels:
            is_hanging.set()
            assert go_on.wait(60)
        return get(vectors, labels, model_id)

    monkeypatch.setattr(Vectors, "get", hang)
    # One change is enough for a set to be due.
    keeper = Keeper(start().restore, KeeperOptions(3600, 1, 0.2, pause_seconds=0))
    keeper.start()
    assert is_hanging.wait(30)
    keeper.begin_stop()
    read.clear()
    after = start()
    index = opened(after)
    assert index.checkpoint is None
    assert set(read) == set(range(201, 214)), "what was built was saved"
    for number, key in enumerate(keys):
        label = 100 * number + 1
        assert set(found(after, label, key)) == set(range(label, label + 11 + number))
    go_on.set()
    keeper._thread.join(30)


def test_a_kill_while_sets_are_caught_up_leaves_none_to_be_compared(
    catalog: Catalog,
    start: Callable[..., CatalogIndex],
    no_margin: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image came to a set that is behind: it isn't saved half caught up, as not whole."""
    keys = [SetKey(f"{name}1", "x") for name in "ab"]
    for number, key in enumerate(keys):
        put(catalog, [100 * number + 1], key)
    keep(start())
    for number, key in enumerate(keys):
        put(catalog, range(100 * number + 2, 100 * number + 4 + number), key)
    killed = start()
    supply = SetRepair.supply

    def die_at_the_second(repair: SetRepair, of: Any, key: SetKey, *arguments: Any) -> Any:
        if key == keys[1]:
            raise KeyboardInterrupt
        killed.add(put(catalog, [150], keys[1]))
        return supply(repair, of, key, *arguments)

    keeper = Keeper(killed.restore, KeeperOptions(3600, 1, 0.2, pause_seconds=0))
    with monkeypatch.context() as patch:
        patch.setattr(SetRepair, "supply", die_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            keeper._look()
    forbid_comparison(monkeypatch)
    after = start()
    index = opened(after)
    assert index.not_ready() == []
    assert set(found(after, 1, keys[0])) == {1, 2, 3}
    assert set(found(after, 101, keys[1])) == {101, 102, 103, 104, 150}


def test_a_deleted_collection_leaves_nothing(
    catalog: Catalog, start: Callable[..., CatalogIndex], directory: Path
) -> None:
    put(catalog, range(1, 21))
    put(catalog, range(21, 31), CLOTHES)
    put(catalog, range(31, 41), OTHER)
    shards = start()
    save(shards)
    assert len(list(directory.iterdir())) == 3
    assert shards.drop("a1") == 2
    assert shards.drop("a1") == 0
    shards.add(catalog.images.find(range(1, 21)).values())
    assert found(shards, 1) == found(shards, 21, CLOTHES) == []
    assert set(found(shards, 31, OTHER)) == set(range(31, 41))
    assert len(list(directory.iterdir())) == 1


def test_a_set_whose_images_all_went_while_it_was_down_loses_its_files(
    catalog: Catalog, start: Callable[..., CatalogIndex], directory: Path
) -> None:
    put(catalog, range(1, 21))
    save(start())
    catalog.images.delete(range(1, 21))
    after = start()
    index = opened(after)
    assert found(after, 1) == []
    index.compact(0.2, threading.Event())
    save(after)
    assert list(directory.iterdir()) == []


def test_with_a_memory_budget_not_all_sets_are_in_memory_and_all_are_found(
    catalog: Catalog, start: Callable[..., CatalogIndex]
) -> None:
    keys = [SetKey(f"{number:x}", "x") for number in range(5)]
    for number, key in enumerate(keys):
        put(catalog, range(100 * number + 1, 100 * number + 21), key)
    before = start()
    save(before)
    of_all_five = sum(index.memory_bytes for index in before.restore())
    shards = start(memory_bytes=of_all_five // 2)
    opened(shards)
    assert sum(state.loaded for state in shards.state().values()) == 2
    assert all(state.ready for state in shards.state().values())
    for number, key in enumerate(keys):
        label = 100 * number + 1
        assert found(shards, label, key)[0] == label
