"""What a new index process answers, and when: at once where snapshots and checkpoint are good."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_rows import (
    CLOTHES,
    MODEL,
    OTHER,
    SHOES,
    feature,
    found,
    opened,
    put,
    put_collection,
)
from pymongo.errors import OperationFailure
from structlog.testing import capture_logs

from catalog.connection import databases, now, stamp
from catalog.images import ImageRow, Images
from catalog.store import Catalog
from config.settings import settings
from indexer.key import SetKey
from indexer.vector_set import SetNotReadyError
from workers import catalog_index as module
from workers import restoration
from workers.catalog_index import CatalogIndex
from workers.set_repair import SetRepair

Start = Callable[..., CatalogIndex]
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def no_margin(monkeypatch: Patch) -> None:
    """Let a checkpoint claim all that happened before it, so that a test sees where it ends."""
    monkeypatch.setattr(module, "MARGIN_SECONDS", 0.0)
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)


def keep(shards: CatalogIndex) -> int | None:
    """Save all sets and the checkpoint, as the keeper does; return the checkpoint."""
    index = opened(shards)
    for key in index.unsaved():
        assert index.save(key)
    shards.keep_checkpoints()
    time.sleep(0.01)  # what comes next is of another millisecond
    return index.checkpoint


def forbid_comparison(patch: Patch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the rows of a whole collection were read")

    patch.setattr(Images, "places_of", forbidden)


def recategorise(catalog: Catalog, label: int, category: str) -> list[ImageRow]:
    rows = databases(catalog.client, settings().mongo_database)[0]
    rows["images"].update_one({"_id": label}, {"$set": {"category": category}})
    return list(catalog.images.find([label]).values())


def spoil(catalog: Catalog, label: int, values: bytes) -> None:
    blobs = databases(catalog.client, settings().mongo_database)[1]
    blobs["vectors"].update_one({"_id": label}, {"$set": {"values": values}})


def test_sets_with_snapshots_answer_although_no_collection_was_compared(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1, 2])
    put(catalog, [3], OTHER)
    keep(start())
    forbid_comparison(monkeypatch)
    after = start()
    index = opened(after)
    assert index.is_complete
    assert index.not_ready() == []
    assert not any(state.loaded for state in after.state().values())
    assert (set(found(after, 1)), found(after, 3, OTHER)) == ({1, 2}, [3])
    assert found(after, 1, SetKey("a1", "no such category")) == []


def test_what_succeeded_after_the_last_snapshot_is_found_at_the_first_answer(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1])
    before = start()
    keep(before)
    before.add(put(catalog, [2]))
    before.add(put(catalog, [3], CLOTHES))
    catalog.images.delete([1])
    forbid_comparison(monkeypatch)
    after = start()
    opened(after)
    assert 2 in found(after, 2)
    assert found(after, 3, CLOTHES) == [3]
    keep(after)
    assert 2 in found(after, 2)


def test_an_image_that_moved_after_the_last_snapshot_is_found_where_its_row_says(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1, 2])
    put(catalog, [3], CLOTHES)
    before = start()
    keep(before)
    before.refresh(recategorise(catalog, 1, CLOTHES.category))
    forbid_comparison(monkeypatch)
    after = start()
    opened(after)
    assert set(found(after, 1, CLOTHES)) == {1, 3}


def test_an_image_whose_reminder_waits_is_found_where_its_row_says(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1, 2])
    keep(start())
    recategorise(catalog, 1, CLOTHES.category)
    catalog.images.ask_index([1])
    forbid_comparison(monkeypatch)
    after = start()
    opened(after)
    assert found(after, 1, CLOTHES) == [1]


def test_a_standby_with_an_old_folder_finds_what_other_owners_showed(
    catalog: Catalog, start: Start, directory: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    put(catalog, [1, 2])
    keep(start())
    other = CatalogIndex(lambda: catalog, shard_capacity=100, directory=tmp_path / "elsewhere")
    opened(other)
    other.add(put(catalog, [3]))
    other.refresh(recategorise(catalog, 2, CLOTHES.category))
    other.add(put(catalog, [4], OTHER))
    keep(other)
    forbid_comparison(monkeypatch)
    after = start()
    opened(after)
    assert {1, 3} <= set(found(after, 1))
    assert (found(after, 2, CLOTHES), found(after, 4, OTHER)) == ([2], [4])


def test_a_checkpoint_goes_no_further_than_the_oldest_change_that_was_not_saved(
    catalog: Catalog, start: Start
) -> None:
    put(catalog, [1])
    shards = start()
    first = keep(shards)
    assert first is not None
    shards.add(put(catalog, [2]))
    added = stamp(now())
    time.sleep(0.05)
    shards.add(put(catalog, [3], CLOTHES))
    index = opened(shards)
    assert index.save(CLOTHES)
    shards.keep_checkpoints()
    assert index.checkpoint is not None
    assert first <= index.checkpoint <= added
    last = keep(shards)
    assert last is not None
    assert last > added + 50


def test_a_clock_that_is_set_forward_takes_no_change_out_of_what_is_read(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1])
    shards = start()
    first = keep(shards)
    shards.add(put(catalog, [2]))
    added = stamp(now())
    index = opened(shards)
    monkeypatch.setattr(module, "now", lambda: now() + timedelta(hours=1))
    for _ in range(2):
        shards.keep_checkpoints()
        assert index.checkpoint == first
    last = keep(shards)
    assert last is not None
    assert last > added


def test_a_process_that_may_have_lost_the_index_writes_no_checkpoint_but_that_of_its_end(
    catalog: Catalog, start: Start
) -> None:
    put(catalog, [1])
    is_owner = True
    shards = start(is_owner=lambda: is_owner)
    shards.restore()
    shards.cease()
    ended = stamp(now())
    is_owner = False
    time.sleep(0.05)
    until = keep(shards)
    assert until is not None
    assert until <= ended

    lost = start(is_owner=lambda: is_owner)
    lost.restore()
    lost.cease()
    lost.add(put(catalog, [2]))
    assert keep(lost) == until


def test_without_snapshots_sets_are_built_the_smallest_collection_first_each_ready_at_once(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    keys = [SetKey(f"{name}1", "x") for name in "cab"]
    for number, (key, size) in enumerate(zip(keys, (3, 2, 1), strict=True)):
        put(catalog, range(100 * number + 1, 100 * number + 1 + size), key)
    shards = start()
    seen: list[tuple[SetKey, list[bool]]] = []
    mend = SetRepair.mend

    def answers(key: SetKey) -> bool:
        try:
            return bool(found(shards, 1, key))
        except SetNotReadyError:
            return False

    def look(repair: SetRepair, of: Any, key: SetKey, *arguments: Any) -> Any:
        seen.append((key, [answers(each) for each in reversed(keys)]))
        return mend(repair, of, key, *arguments)

    monkeypatch.setattr(SetRepair, "mend", look)
    opened(shards)
    assert seen == [
        (keys[2], [False, False, False]),
        (keys[1], [True, False, False]),
        (keys[0], [True, True, False]),
    ]


def test_a_collection_made_while_others_are_built_is_searched_at_once(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1])
    shards = start()
    mend = SetRepair.mend
    answers: list[list[int]] = []

    def meanwhile(*arguments: Any) -> Any:
        assert found(shards, 50, SetKey("new", "x")) == []
        shards.add(put(catalog, [50], SetKey("new", "x")))
        answers.append(found(shards, 50, SetKey("new", "x")))
        return mend(*arguments)

    monkeypatch.setattr(SetRepair, "mend", meanwhile)
    opened(shards)
    assert answers == [[50]]


@pytest.mark.parametrize("damage", ["manifest", "folder"])
def test_a_lost_snapshot_keeps_its_own_collection_waiting_and_no_other(
    catalog: Catalog, start: Start, directory: Path, monkeypatch: Patch, damage: str
) -> None:
    put(catalog, [1, 2])
    put(catalog, [3], CLOTHES)
    put(catalog, [4], OTHER)
    before = start()
    keep(before)
    time.sleep(0.01)
    lost = opened(before)._sets[SHOES].saved_as
    assert lost is not None
    if damage == "folder":
        shutil.rmtree(directory / lost)
    else:
        (directory / lost / "manifest").write_bytes(b"nothing")
    for _ in range(2):
        # A process that died before it had built the set leaves the next one no better off.
        with monkeypatch.context() as patch:
            patch.setattr(SetRepair, "mend", lambda *_: None)
            after = start()
            opened(after)
        assert (found(after, 3, CLOTHES), found(after, 4, OTHER)) == ([3], [4])
        with pytest.raises(SetNotReadyError):
            found(after, 1)
    opened(after)
    assert set(found(after, 1)) == {1, 2}
    keep(after)
    forbid_comparison(monkeypatch)
    last = start()
    opened(last)
    assert set(found(last, 1)) == {1, 2}


def test_a_lost_shard_is_built_anew_after_the_first_search_that_needs_it(
    catalog: Catalog, start: Start, directory: Path
) -> None:
    put(catalog, [1, 2])
    put(catalog, [4], OTHER)
    before = start()
    keep(before)
    lost = opened(before)._sets[SHOES].saved_as
    assert lost is not None
    for path in (directory / lost).iterdir():
        if path.name != "manifest":
            path.write_bytes(b"nothing")
    after = start()
    opened(after)
    assert found(after, 4, OTHER) == [4]
    with pytest.raises(SetNotReadyError):
        found(after, 1)
    shown = keep(after)
    assert set(found(after, 1)) == {1, 2}
    assert shown is not None


def test_a_set_that_was_saved_half_built_is_compared_by_the_next_process(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put_collection(catalog, SHOES.generation)
    before = start()
    before.restore()
    keep(before)  # a checkpoint that knows of no set
    half = start()
    opened(half)
    put(catalog, [1, 2])
    catalog.client[settings().mongo_database]["images"].update_many({}, {"$unset": {"shown_at": 1}})
    index = opened(half)
    index.open(SHOES)
    index.add(SHOES, [1], feature(1)[np.newaxis])
    assert index.save(SHOES)
    after = start()
    assert set(found_when_restored(after, 1)) == {1, 2}


def found_when_restored(shards: CatalogIndex, label: int) -> list[int]:
    opened(shards)
    return found(shards, label)


@pytest.mark.parametrize("data", [b"", b"nothing", None])
def test_a_damaged_checkpoint_has_every_set_compared(
    catalog: Catalog, start: Start, directory: Path, data: bytes | None
) -> None:
    put(catalog, [1])
    before = start()
    keep(before)
    put(catalog, [2])
    rows = catalog.client[settings().mongo_database]["images"]
    rows.update_many({}, {"$unset": {"shown_at": 1}})
    path = directory / "checkpoint"
    path.write_bytes(path.read_bytes()[:-1] if data is None else data)
    assert set(found_when_restored(start(), 1)) == {1, 2}


def test_a_checkpoint_of_the_future_has_every_set_compared(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1])
    before = start()
    opened(before)
    with monkeypatch.context() as patch:
        patch.setattr(module, "now", lambda: now() + timedelta(hours=1))
        keep(before)
    put(catalog, [2])
    after = start()
    assert set(found_when_restored(after, 1)) == {1, 2}
    until = keep(after)
    assert until is not None
    assert until <= stamp(now())


def test_a_collection_that_went_while_the_process_was_down_leaves_no_set(
    catalog: Catalog, start: Start, directory: Path
) -> None:
    put(catalog, [1])
    put(catalog, [4], OTHER)
    keep(start())
    kept = databases(catalog.client, settings().mongo_database)[0]
    kept["collections"].delete_one({"generation": OTHER.generation})
    after = start()
    assert opened(after).keys() == [SHOES]
    assert sum(path.is_dir() for path in directory.iterdir()) == 1


@pytest.mark.parametrize(
    "values",
    [np.full(8, np.nan, "<f4").tobytes(), b"", b"abcde", np.full(8, 2.0, "<f4").tobytes()],
    ids=["nan", "empty", "cut", "norm"],
)
def test_a_bad_vector_is_skipped_and_told_and_every_other_image_is_found(
    catalog: Catalog, start: Start, values: bytes
) -> None:
    put(catalog, [1, 5])
    put(catalog, [2, 3, 4], CLOTHES)
    spoil(catalog, 1, values)
    shards = start()
    with capture_logs() as lines:
        index = opened(shards)
        opened(shards)
    assert index.not_ready() == []
    assert found(shards, 5) == [5]
    assert set(found(shards, 2, CLOTHES)) == {2, 3, 4}
    told = [line for line in lines if line["event"] == "a feature can't be searched, image skipped"]
    assert [(line["image"], line["label"]) for line in told] == [("user/shop/1", 1)]
    health = shards.health()
    assert (health.bad_vectors, health.bad_images) == (1, "user/shop/1")
    shards.remove(catalog.images.find([1]).values())
    assert shards.health().bad_vectors == 0


def test_a_set_that_can_not_be_built_keeps_no_other_from_it_and_is_tried_again(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1])
    put(catalog, [2, 3], OTHER)
    shards = start()
    mend = SetRepair.mend

    def fail(repair: SetRepair, of: Any, key: SetKey, *arguments: Any) -> Any:
        if key == SHOES:
            raise OperationFailure("a fault of the server")
        return mend(repair, of, key, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SetRepair, "mend", fail)
        index = opened(shards)
        assert index.not_ready() == [SHOES]
    assert set(found(shards, 2, OTHER)) == {2, 3}
    opened(shards)
    assert index.not_ready() == [SHOES], "not at once"
    monkeypatch.setattr(restoration, "FAULT_SECONDS", 0.0)
    shards._restoration._again_at.clear()
    opened(shards)
    assert found(shards, 1) == [1]


def test_a_checkpoint_names_its_catalogue_and_model(
    catalog: Catalog, start: Start, directory: Path
) -> None:
    put(catalog, [1])
    keep(start())
    fields = json.loads((directory / "checkpoint").read_bytes().partition(b"\n")[2])
    assert fields["parameters"]["model_id"] == f"{catalog.identity.get()}/{MODEL.model_id}"
