"""What a new index process answers, and when: at once where snapshots and checkpoint are good."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymongo.errors import AutoReconnect

from catalog.database.connection import databases, now, stamp
from catalog.rows.images import ImageRow
from catalog.store import Catalog
from config.settings import settings
from indexer.hnsw import vector_set
from indexer.hnsw.index import VectorIndex
from indexer.key import SetKey
from indexer.vector_store import SetNotReadyError
from tests.integration.workers.index.engines import ON_BOTH_ENGINES
from tests.integration.workers.index.rows import (
    CLOTHES,
    OTHER,
    SHOES,
    feature,
    forbid_comparison,
    found,
    keep,
    opened,
    put,
)
from workers.index_process import catalog_index as module
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.set_repair import SetRepair
from workers.index_process.vector_engine import HnswEngine

Start = Callable[..., CatalogIndex]
Patch = pytest.MonkeyPatch

pytestmark = pytest.mark.usefixtures("no_margin")


def recategorise(catalog: Catalog, label: int, category: str) -> list[ImageRow]:
    rows = databases(catalog.client, settings().mongo_database)[0]
    rows["images"].update_one({"_id": label}, {"$set": {"category": category}})
    return list(catalog.images.find([label]).values())


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


def test_what_was_deleted_after_the_last_snapshot_is_not_in_the_shards_of_the_next_process(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1, 2, 3])
    before = start()
    keep(before)
    catalog.images.delete([1, 3])
    before.remove(list(catalog.images.find([1]).values()))
    catalog.images.index_is_right(catalog.images.find([1]).values())
    forbid_comparison(monkeypatch)
    after = opened(start())
    assert after.live_labels(SHOES) == {2}, "one that the index had confirmed, and one not yet"


def test_a_start_that_lost_the_database_hides_what_was_deleted_before_it_keeps_a_checkpoint(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1, 2, 3])
    before = start()
    checkpoint = keep(before)
    catalog.images.delete([1, 3])
    before.remove(list(catalog.images.find([1, 3]).values()))
    catalog.images.index_is_right(catalog.images.find([1, 3]).values())
    forbid_comparison(monkeypatch)
    after = start()
    hide = SetRepair.hide

    def lost(*_: object) -> int:
        monkeypatch.setattr(SetRepair, "hide", hide)
        raise AutoReconnect("the database is away")

    monkeypatch.setattr(SetRepair, "hide", lost)
    (index,) = after.restore(threading.Event())
    after.keep_checkpoints()
    assert index.checkpoint == checkpoint, "the shards have not heard of the deletions yet"
    assert opened(after).live_labels(SHOES) == {2}
    assert (keep(after) or 0) > (checkpoint or 0)


def test_what_moved_after_the_last_snapshot_is_in_one_set_of_the_next_process(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1, 2])
    before = start()
    keep(before)
    before.refresh(recategorise(catalog, 1, CLOTHES.category))
    forbid_comparison(monkeypatch)
    after = opened(start())
    assert (after.live_labels(SHOES), after.live_labels(CLOTHES)) == ({2}, {1})


def test_an_image_that_comes_back_while_it_is_hidden_stays(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    """Its row is read, comes back with a refresh, and only then the set is marked."""
    put(catalog, [1, 2])
    before = start()
    keep(before)
    before.refresh(recategorise(catalog, 1, CLOTHES.category))
    after = start()
    mark = VectorIndex.mark_deleted

    def late(index: VectorIndex, key: SetKey, labels: Sequence[int]) -> int:
        if key == SHOES and 1 in labels:
            monkeypatch.setattr(VectorIndex, "mark_deleted", mark)
            after.refresh(recategorise(catalog, 1, SHOES.category))
        return mark(index, key, labels)

    monkeypatch.setattr(VectorIndex, "mark_deleted", late)
    assert 1 in opened(after).live_labels(SHOES)


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
    other = CatalogIndex(lambda: catalog, HnswEngine(100, tmp_path / "elsewhere"))
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


def test_a_checkpoint_goes_as_far_as_the_oldest_change_that_was_not_saved(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    begun, passed = now(), 0.0
    monkeypatch.setattr(module, "now", lambda: begun + timedelta(seconds=passed))
    monkeypatch.setattr(module, "steady_seconds", lambda: passed)
    monkeypatch.setattr(vector_set, "steady_seconds", lambda: passed)
    put(catalog, [1])
    shards = start()
    assert keep(shards) == stamp(begun)
    passed = 10.0
    shards.add(put(catalog, [2]))
    passed = 20.0
    shards.add(put(catalog, [3], CLOTHES))
    index = opened(shards)
    assert index.save(CLOTHES)
    shards.keep_checkpoints()
    assert index.checkpoint == stamp(begun + timedelta(seconds=10))
    passed = 30.0
    assert keep(shards) == stamp(begun + timedelta(seconds=30))


def test_a_checkpoint_that_would_say_no_more_than_the_last_is_not_written(
    catalog: Catalog, start: Start
) -> None:
    """It names the folders of all sets, which is dear where there are many."""
    shards = start()
    shards.add(put(catalog, [1]))
    first = keep(shards)
    assert first is not None
    assert keep(shards) == first
    shards.add(put(catalog, [2]))
    second = keep(shards)
    assert second is not None
    assert second > first


def test_a_clock_that_is_set_forward_takes_no_change_out_of_what_is_read(
    catalog: Catalog, start: Start, monkeypatch: Patch
) -> None:
    put(catalog, [1])
    shards = start()
    first = keep(shards)
    shards.add(put(catalog, [2]))
    added = stamp(now())
    shards.add(put(catalog, [3], CLOTHES))
    index = opened(shards)
    assert index.save(CLOTHES)
    assert index.is_checkpoint_due, "for the change of the other set"
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


@ON_BOTH_ENGINES
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


@pytest.mark.parametrize("category", ["x", None])
@pytest.mark.parametrize("is_behind", [False, True])
def test_a_set_that_is_searched_before_it_is_ready_is_the_next_to_be_made_ready(
    catalog: Catalog, start: Start, monkeypatch: Patch, *, is_behind: bool, category: str | None
) -> None:
    """Behind its snapshot, or without one; the rest goes on smallest first."""
    keys = [SetKey(f"{name}1", "x") for name in "abcd"]
    if is_behind:
        for number, key in enumerate(keys):
            put(catalog, [1000 + number], key)
        keep(start())
    for number, key in enumerate(keys):
        put(catalog, range(100 * number + 1, 100 * number + 2 + number), key)
    shards = start()
    order: list[SetKey] = []
    supply = SetRepair.supply

    def look(repair: SetRepair, of: Any, key: SetKey, *arguments: Any) -> Any:
        order.append(key)
        if len(order) == 1:
            with pytest.raises(SetNotReadyError):
                shards.search(keys[3].generation, category, feature(1)[np.newaxis], 5)
        return supply(repair, of, key, *arguments)

    monkeypatch.setattr(SetRepair, "supply", look)
    opened(shards)
    assert order == [keys[0], keys[3], keys[1], keys[2]]
    assert len(found(shards, 301, keys[3])) == (5 if is_behind else 4)


@ON_BOTH_ENGINES
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
