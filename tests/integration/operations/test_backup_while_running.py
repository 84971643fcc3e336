"""A backup that is taken while the service goes on: whatever happens between two of its tables.

The backup's own report of progress is the place where something happens: before each table.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from busy_catalog import EVENTS, Busy, Victim, audit
from pymongo import MongoClient

from backup.archive import open_archive
from backup.taking import take_backup
from catalog.connection import Row, connect, databases
from catalog.dumping import TABLES
from catalog.restoring import restore
from catalog.survivors import Contents, Survivors


class ServersLike(Protocol):
    mongo_url: str
    redis_url: str
    data_dir: Path


@pytest.fixture(scope="module")
def client(servers: ServersLike) -> Iterator[MongoClient[Row]]:
    with connect(servers.mongo_url, 5) as found:
        yield found


@pytest.fixture
def busy(client: MongoClient[Row]) -> Busy:
    return Busy(client, f"busy_{uuid.uuid4().hex[:8]}")


def silent(table: str, done: int, total: int | None) -> None:
    pass


def restored(client: MongoClient[Row], path: Path) -> tuple[str, Contents]:
    """Restore into a new database; give its name, and what was said of it."""
    name = f"restored_{uuid.uuid4().hex[:8]}"
    with open_archive(path) as archive:
        survivors = Survivors(archive)
        restore(client, name, archive, survivors, archive.manifest.schema, silent)
    return name, survivors.contents


def backed_up(busy: Busy, path: Path, event: str, victims: list[Victim]) -> Contents:
    """Take a backup; before each table, the event happens to one victim after the other."""
    left = dict(zip(TABLES, victims, strict=True))

    def happens(table: str, done: int, total: int | None) -> None:
        if done == 0 and table in left:
            getattr(busy, event)(left.pop(table))

    contents = take_backup(busy.client, busy.name, path, happens)
    assert left == {}
    return contents


def without_times(rows: Iterator[Row]) -> list[Row]:
    return sorted(({k: v for k, v in row.items() if k != "due_at"} for row in rows), key=str)


def everything_of(client: MongoClient[Row], name: str, victim: Victim) -> dict[str, list[Row]]:
    rows, blobs = databases(client, name)
    labels = victim.done_labels + victim.waiting_labels
    mine = {"_id": {"$in": labels}}
    chunks = [c.id for s in (victim.done, victim.waiting) for c in s.chunks]
    held = {"label": {"$in": labels}}
    tasks = [s.task.task_id for s in (victim.done, victim.waiting) if s.task]
    state = {"state": 0, "sent_at": 0}
    return {
        "images": without_times(rows["images"].find(mine)),
        "names": without_times(rows["image_names"].find(held)),
        "contents": without_times(rows["image_contents"].find(held)),
        "products": without_times(rows["products"].find({"serial": victim.product.serial})),
        "chunks": without_times(rows["chunks"].find({"_id": {"$in": chunks}}, state)),
        "tasks": without_times(rows["tasks"].find({"_id": {"$in": tasks}})),
        "collection": without_times(rows["collections"].find({"_id": victim.collection.key})),
        **{
            table: without_times(blobs[table].find(mine))
            for table in ("payloads", "vectors", "pictures")
        },
    }


@pytest.mark.parametrize("event", EVENTS)
def test_what_happens_between_two_tables_is_put_right(
    busy: Busy, client: MongoClient[Row], tmp_path: Path, event: str
) -> None:
    untouched = busy.victim("1002")
    victims = [busy.victim() for _ in TABLES]
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
        for submission in (victim.done, victim.waiting):
            assert submission.task is not None
            assert rows["tasks"].find_one({"_id": submission.task.task_id}) is not None


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
    victims = [busy.victim() for _ in TABLES]
    backed_up(busy, tmp_path / "file", "waiting_image_is_deleted", victims)
    name, _ = restored(client, tmp_path / "file")
    rows = databases(client, name)[0]
    early = victims[TABLES.index("image_names")].waiting_labels[0]
    row = rows["images"].find_one({"_id": early})
    assert row is not None
    assert row["outcome"] is None
    assert row["deleted_at"] is not None
    assert row["released_by"] is not None


def test_a_submission_of_which_only_a_part_was_read_is_left_out_as_a_whole(
    busy: Busy, client: MongoClient[Row], tmp_path: Path
) -> None:
    victim = busy.victim()
    assert victim.waiting.task is not None
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
