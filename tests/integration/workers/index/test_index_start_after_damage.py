"""What a new index process answers where snapshots, checkpoint or vectors are damaged."""

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
from pymongo.errors import OperationFailure
from structlog.testing import capture_logs

from catalog.database.connection import databases, now, stamp
from catalog.store import Catalog
from config.settings import settings
from indexer.hnsw.index import VectorIndex
from indexer.key import SetKey
from indexer.vector_store import SetNotReadyError, VectorStore
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
    put_collection,
    spoil,
)
from workers.index_process import catalog_index as module
from workers.index_process import restoration
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.set_repair import SetRepair

Start = Callable[..., CatalogIndex]
Patch = pytest.MonkeyPatch

pytestmark = pytest.mark.usefixtures("no_margin")


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
    lost = folder_of(opened(before), SHOES)
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
    lost = folder_of(opened(before), SHOES)
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
    index.create(SHOES)
    index.add(SHOES, [1], feature(1)[np.newaxis])
    assert index.save(SHOES)
    after = start()
    assert set(found_when_restored(after, 1)) == {1, 2}


def folder_of(index: VectorStore, key: SetKey) -> str:
    """Return the name of the folder in which a set was saved."""
    assert isinstance(index, VectorIndex)
    name = index._sets[key].saved_as
    assert name is not None
    return name


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
    told = [line for line in lines if line["event"] == "a vector can't be searched, image skipped"]
    assert [(line["image"], line["label"]) for line in told] == [("user/shop/1", 1)]
    health = shards.health()
    assert (health.bad_vectors, health.bad_images) == (1, "user/shop/1")
    shards.remove(catalog.images.find([1]).values())
    assert shards.health().bad_vectors == 0


def test_a_bad_vector_is_told_once_and_no_more_once_it_is_good(
    catalog: Catalog, start: Start
) -> None:
    put(catalog, [1, 5])
    spoil(catalog, 1, np.full(8, np.nan, "<f4").tobytes())
    shards = start()
    opened(shards)
    with capture_logs() as lines:
        shards.add(catalog.images.find([1]).values())
    assert lines == []
    assert shards.health().bad_vectors == 1
    spoil(catalog, 1, feature(1).astype("<f4").tobytes())
    shards.add(catalog.images.find([1]).values())
    assert shards.health().bad_vectors == 0
    assert set(found(shards, 1)) == {1, 5}


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
