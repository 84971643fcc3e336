"""A backup that is taken while the service goes on: whatever happens between two of its tables.

The backup's own report of progress is the place where something happens: before each table.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient

from catalog.backup.archive import open_archive
from catalog.backup.consistent_rows import ConsistentRows, Contents
from catalog.backup.dumping import BLOBS, TABLES
from catalog.backup.restoring import restore
from catalog.backup.taking import take_backup
from catalog.database.connection import Row, databases
from catalog.rows.chunks import TIME_FIELDS, State
from catalog.rows.counters import without_recount
from tests.catalogues import default_catalog
from tests.integration.operations.busy_catalog import EVENTS, Busy, Victim, audit

#: The tables before which something happens: all that anything depends on.
MOMENTS = [table for table in TABLES if table not in ("models", "numbers")]


def silent(table: str, done: int, total: int | None) -> None:
    pass


def restored(client: MongoClient[Row], path: Path) -> tuple[str, Contents]:
    """Restore into a new database; return its name, and what was said of it."""
    name = f"restored_{uuid.uuid4().hex[:8]}"
    with open_archive(path) as archive:
        consistent = ConsistentRows(archive)
        told = archive.manifest
        restore(
            client,
            name,
            archive,
            consistent,
            schema=told.schema,
            catalogue=told.catalogue,
            checksum=archive.checksum,
            progress=silent,
        )
    return name, consistent.contents


def backed_up(busy: Busy, path: Path, event: str, victims: list[Victim]) -> Contents:
    """Take a backup; before each moment, the event happens to one victim after the other."""
    left = dict(zip(MOMENTS, victims, strict=True))

    def happens(table: str, done: int, total: int | None) -> None:
        if done == 0 and table in left:
            getattr(busy, event)(left.pop(table))

    contents = take_backup(busy.client, busy.name, path, happens)
    assert left == {}
    return contents


def comparable(rows: Iterator[Row]) -> list[Row]:
    """Rows without what a restore makes anew: times of work, and the catalogue in chunk ids."""
    found = []
    for row in rows:
        kept = {k: v for k, v in without_recount(row).items() if k not in TIME_FIELDS}
        if "chunk_ids" in row:
            kept["chunk_ids"] = [chunk_id.rpartition("-")[2] for chunk_id in row["chunk_ids"]]
        if "items" in row:
            kept |= {"_id": row["_id"].rpartition("-")[2], "state": row["state"] == State.DONE}
        found.append(kept)
    return sorted(found, key=str)


def everything_of(client: MongoClient[Row], name: str, victim: Victim) -> dict[str, list[Row]]:
    rows, blobs = databases(client, name)
    labels = victim.done_labels + victim.waiting_labels
    tasks = [victim.done.task.task_id, victim.waiting.task.task_id]
    which = {
        "images": {"_id": {"$in": labels}},
        "image_names": {"label": {"$in": labels}},
        "image_contents": {"label": {"$in": labels}},
        "products": {"serial": victim.product.serial},
        "chunks": {"task_id": {"$in": tasks}},
        "tasks": {"_id": {"$in": tasks}},
        "collections": {"_id": victim.collection.key},
    }
    return {table: comparable(rows[table].find(query)) for table, query in which.items()} | {
        table: comparable(blobs[table].find({"_id": {"$in": labels}})) for table in BLOBS
    }


@pytest.mark.parametrize("event", EVENTS)
def test_what_happens_between_two_tables_is_put_right(
    busy: Busy, client: MongoClient[Row], tmp_path: Path, event: str
) -> None:
    untouched = busy.victim("1002")
    victims = [busy.victim() for _ in MOMENTS]
    before = everything_of(client, busy.name, untouched)
    told = backed_up(busy, tmp_path / "file", event, victims)
    name, contents = restored(client, tmp_path / "file")
    living = audit(client, name)
    assert contents == told
    assert len(living) == contents.findable + contents.under_way
    assert everything_of(client, name, untouched) == before
    rows = databases(client, name)[0]
    for victim in victims:
        labels = {*victim.done_labels, *victim.waiting_labels}
        assert labels - touched(event, victim) <= living.keys()
        tasks = [victim.waiting, *([] if event == "task_is_forgotten" else [victim.done])]
        for taken in tasks:
            assert rows["tasks"].find_one({"_id": taken.task.task_id}) is not None


def touched(event: str, victim: Victim) -> set[int]:
    """The images of a victim that need not be there after such an event."""
    if event.startswith(("image_is_", "waiting_image_is_")):
        return {victim.done_labels[0], victim.waiting_labels[0]}
    if event in ("work_fails", "work_ends_and_is_deleted"):
        return set(victim.waiting_labels)
    if event in ("product_is_changed", "product_is_added", "collection_is_added"):
        return set()
    if event.startswith(("product_", "collection_")):
        return {*victim.done_labels, *victim.waiting_labels}
    return set()


def test_what_was_deleted_before_is_not_brought_back(
    busy: Busy, client: MongoClient[Row], tmp_path: Path
) -> None:
    kept, image_gone, product_gone, collection_gone = (busy.victim() for _ in range(4))
    busy.image_is_deleted(image_gone)
    busy.product_is_deleted(product_gone)
    busy.collection_is_deleted(collection_gone)
    contents = take_backup(client, busy.name, tmp_path / "file", silent)
    name, _ = restored(client, tmp_path / "file")
    living = audit(client, name)
    expected = {*kept.done_labels, *kept.waiting_labels}
    expected |= {*image_gone.done_labels[1:], *image_gone.waiting_labels}
    assert living.keys() == expected
    assert (contents.collections, contents.products) == (3, 2)
    assert contents.left_out == len(collection_gone.done_labels + collection_gone.waiting_labels)


def test_of_two_images_of_one_name_the_one_that_holds_it_lives(
    busy: Busy, client: MongoClient[Row], tmp_path: Path
) -> None:
    """A cursor that lives while an image is replaced gives both, the first as it was before."""
    victim = busy.victim()
    first = busy.rows["images"].find_one({"_id": victim.done_labels[0]})
    vector = busy.blobs["vectors"].find_one({"_id": victim.done_labels[0]})
    assert first is not None
    assert vector is not None
    busy.rows["images"].insert_one(first | {"_id": 1000})
    busy.blobs["vectors"].insert_one(vector | {"_id": 1000})
    busy.rows["image_names"].update_one({"label": first["_id"]}, {"$set": {"label": 1000}})
    take_backup(client, busy.name, tmp_path / "file", silent)
    name, contents = restored(client, tmp_path / "file")
    living = audit(client, name)
    assert living.keys() == {1000, victim.done_labels[1], *victim.waiting_labels}
    assert contents.left_out == 1


def test_an_image_that_was_deleted_on_its_way_is_told_of_by_its_task(
    busy: Busy, client: MongoClient[Row], tmp_path: Path
) -> None:
    victims = [busy.victim() for _ in MOMENTS]
    backed_up(busy, tmp_path / "file", "waiting_image_is_deleted", victims)
    name, _ = restored(client, tmp_path / "file")
    rows = databases(client, name)[0]
    early = victims[MOMENTS.index("image_names")].waiting_labels[0]
    row = rows["images"].find_one({"_id": early})
    assert row is not None
    assert row["outcome"] is None
    assert row["deleted_at"] is not None
    assert row["index_at"] is not None


def test_chunks_have_the_names_of_another_catalogue(
    busy: Busy, client: MongoClient[Row], tmp_path: Path
) -> None:
    busy.victim()
    old = busy.catalog.identity.get()
    take_backup(client, busy.name, tmp_path / "file", silent)
    name, _ = restored(client, tmp_path / "file")
    new = default_catalog(client, name).identity.get()
    assert new != old
    ids = [row["_id"] for row in databases(client, name)[0]["chunks"].find()]
    assert len(ids) == 2
    assert all(re.fullmatch(rf"chunk-{new}-\d+", chunk_id) for chunk_id in ids)


def test_idempotency_keys_come_back_with_their_tasks(
    busy: Busy, client: MongoClient[Row], tmp_path: Path
) -> None:
    victim = busy.victim()
    keys = busy.catalog.keys
    for key, task_id in (("a", victim.done.task.task_id), ("b", "1001/x/1581417512.274598")):
        assert keys.note(keys.take("1001", key, "body")[0], task_id)
    keys.take("1001", "c", "body")
    before = busy.rows["keys"].find_one({"_id": "1001/a"})
    take_backup(client, busy.name, tmp_path / "file", silent)
    name, _ = restored(client, tmp_path / "file")
    assert list(databases(client, name)[0]["keys"].find()) == [before]


def test_a_submission_of_which_only_a_part_was_read_is_left_out_as_a_whole(
    busy: Busy, client: MongoClient[Row], tmp_path: Path
) -> None:
    busy.chunk_images = 1
    victim = busy.victim()
    part = victim.waiting.chunks[0]
    busy.rows["chunks"].delete_one({"_id": part.id})
    take_backup(client, busy.name, tmp_path / "file", silent)
    name, contents = restored(client, tmp_path / "file")
    living = audit(client, name)
    assert living.keys() == set(victim.done_labels)
    assert (contents.left_out, contents.tasks) == (2, 1)
    rows = databases(client, name)[0]
    assert rows["tasks"].find_one({"_id": victim.waiting.task.task_id}) is None
    assert rows["chunks"].count_documents({"task_id": victim.waiting.task.task_id}) == 0


def test_numbers_go_on_above_whatever_was_read(
    busy: Busy, client: MongoClient[Row], tmp_path: Path
) -> None:
    victim = busy.victim()
    busy.rows["numbers"].update_one({"_id": "number"}, {"$set": {"last": 1}})
    take_backup(client, busy.name, tmp_path / "file", silent)
    name, _ = restored(client, tmp_path / "file")
    row = databases(client, name)[0]["numbers"].find_one({"_id": "number"})
    assert row is not None
    assert row["last"] == max(victim.waiting_labels)
