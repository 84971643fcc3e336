"""A submission that is cut off leaves nothing behind, wherever it was cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.monitoring import CommandListener

from catalog.database.connection import now
from catalog.flows.submission import (
    NewImage,
    SubmissionCutOffError,
    begin,
    open_task,
    roll_back,
    write,
)
from catalog.rows.collections import CollectionRow
from catalog.store import Catalog, open_catalog
from config.settings import settings
from tests.catalogues import default_catalog, default_durations
from tests.integration.catalog.rows import add_products, by_payload, by_url, image_count, recount

#: Rows that outlive a submission that was undone.
BASIS = {"schema", "numbers", "users", "collections", "products", "keys"}


class Cut(BaseException):
    """The process ends here; a BaseException, since nothing may clean up after it."""


class Cutter(CommandListener):
    """Lets a number of writes through, and then ends the process."""

    def __init__(self) -> None:
        self.left = 10**6
        self.writes = 0

    def started(self, event: Any) -> None:
        if event.command_name in ("insert", "update", "delete", "findAndModify"):
            self.writes += 1
            self.left -= 1
            if self.left < 0:
                raise Cut(event.command_name)

    def succeeded(self, event: Any) -> None: ...
    def failed(self, event: Any) -> None: ...


@pytest.fixture
def cutter() -> Cutter:
    return Cutter()


@pytest.fixture
def dying(catalog: Catalog, cutter: Cutter) -> Iterator[Catalog]:
    """The same catalogue as a process sees it that dies at a write."""
    with MongoClient[dict[str, Any]](
        settings().mongo_url.get_secret_value(), event_listeners=[cutter]
    ) as client:
        yield default_catalog(client, settings().mongo_database)


def left_over(catalog: Catalog) -> dict[str, int]:
    """Return the tables that have rows which a submission writes, with how many."""
    name = settings().mongo_database
    found = {}
    for database in (catalog.client[name], catalog.client[f"{name}_blobs"]):
        for table in database.list_collection_names():
            count = len(list(database[table].find({}, ["_id"])))
            if count and table not in BASIS:
                found[table] = count
    return found


def images() -> dict[int, NewImage]:
    return {
        0: by_url("p", "a"),
        1: by_payload("q", "b", b"one"),
        2: by_url("p", "c"),
        3: by_payload("p", "d", b"two"),
    }


def submit(catalog: Catalog, collection: CollectionRow) -> None:
    products = catalog.products.find(collection.generation, ["p", "q"])
    draft = begin(catalog, collection, images(), products)
    written = write(catalog, draft, images_per_product=3, chunk_images=2)
    open_task(catalog, draft, written)
    catalog.chunks.mark_sent(written.chunks)


def test_a_submission_cut_off_at_any_of_its_writes_is_undone_or_whole(
    catalog: Catalog, dying: Catalog, cutter: Cutter, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    dying.identity.get()
    before = cutter.writes
    submit(dying, collection)
    opened = cutter.writes - before
    assert opened > 8
    _delete_all(catalog)
    undone = 0
    for writes in range(opened):
        cutter.left = writes
        with pytest.raises(Cut):
            submit(dying, collection)
        _let_time_pass(catalog)
        overdue = catalog.tasks.overdue_submissions(10)
        for submission in overdue:
            assert roll_back(catalog, submission)
            undone += 1
        if overdue or not left_over(catalog):
            assert left_over(catalog) == {}, f"after {writes} writes"
            assert image_count(catalog, products["p"]) == 0
            assert image_count(catalog, products["q"]) == 0
        else:
            # It was cut off after it had become a task, which the sweep sends on its way.
            assert left_over(catalog)["images"] == 4
            _delete_all(catalog)
    assert undone >= 6


def _let_time_pass(catalog: Catalog) -> None:
    """Make every submission overdue."""
    rows = catalog.client[settings().mongo_database]["tasks"]
    rows.update_many({"submission_at": {"$gt": 0}}, {"$set": {"submission_at": 1}})


def _delete_all(catalog: Catalog) -> None:
    name = settings().mongo_database
    for database in (catalog.client[name], catalog.client[f"{name}_blobs"]):
        for table in set(database.list_collection_names()) - BASIS:
            database[table].delete_many({})
    catalog.client[name]["products"].update_many({}, {"$set": {"places": []}})


def test_whoever_comes_back_after_it_was_taken_for_dead_undoes_what_it_wrote_since(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    draft = begin(catalog, collection, images(), products)
    assert roll_back(catalog, draft.submission)
    written = write(catalog, draft, images_per_product=0, chunk_images=2)
    with pytest.raises(SubmissionCutOffError):
        open_task(catalog, draft, written)
    assert left_over(catalog) == {}
    assert image_count(catalog, products["p"]) == 0


def test_a_submission_is_opened_or_taken_back_and_never_both(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    draft = begin(catalog, collection, images(), products)
    written = write(catalog, draft, images_per_product=0, chunk_images=2)
    task = open_task(catalog, draft, written)
    assert not roll_back(catalog, draft.submission)
    assert catalog.tasks.find(task.task_id) == task
    assert catalog.tasks.overdue_submissions(10) == []


def test_a_task_is_not_there_for_anybody_before_it_is_opened(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    draft = begin(catalog, collection, images(), products)
    task_id = draft.submission.task_id
    assert catalog.tasks.find(task_id) is None
    assert catalog.tasks.page(collection.user, None, "", 10).rows == []
    assert catalog.tasks.page(collection.user, collection.key, "", 10).rows == []
    assert catalog.tasks.submission(task_id) == draft.submission
    written = write(catalog, draft, images_per_product=0, chunk_images=2)
    open_task(catalog, draft, written)
    assert catalog.tasks.submission(task_id) is None
    assert [t.task_id for t in catalog.tasks.page(collection.user, None, "", 10).rows] == [task_id]


def test_a_submission_is_overdue_after_its_time_and_not_before(
    catalog: Catalog, collection: CollectionRow
) -> None:
    hasty = open_catalog(
        catalog.client,
        settings().mongo_database,
        default_durations(submission=timedelta(milliseconds=80)),
    )
    slow = catalog.tasks.begin("1001", collection.key, collection.generation, [])
    draft = hasty.tasks.begin("1001", collection.key, collection.generation, [])
    assert catalog.tasks.overdue_submissions(10) == []
    time.sleep(0.1)
    assert catalog.tasks.overdue_submissions(10) == [draft]
    assert draft.is_overdue
    assert not slow.is_overdue


@pytest.mark.parametrize(
    "change",
    [
        lambda catalog, c: catalog.collections.add_images(c.key, c.generation, 5),
        lambda catalog, c: catalog.collections.add_products(c.key, c.generation, -2),
    ],
)
def test_counters_that_a_crash_left_wrong_are_recounted_a_while_after_the_change(
    catalog: Catalog, collection: CollectionRow, change: Callable[[Catalog, CollectionRow], None]
) -> None:
    products = add_products(catalog, collection, "p", "q")
    catalog.collections.add_products(collection.key, collection.generation, 2)
    catalog.products.take_places(collection.generation, {"p": [1, 2], "q": [3]})
    catalog.collections.add_images(collection.key, collection.generation, 3)
    assert set(products) == {"p", "q"}
    change(catalog, collection)
    assert recount(catalog) == []
    _recount_is_due(catalog)
    (found,) = recount(catalog)
    assert (found.products, found.images) == (2, 3)
    again = catalog.collections.find(collection.user, collection.name)
    assert again is not None
    assert (again.product_count, again.image_count) == (2, 3)
    assert recount(catalog) == []


def test_a_recount_gives_way_to_a_change_that_comes_meanwhile(
    catalog: Catalog, collection: CollectionRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.collections.add_images(collection.key, collection.generation, 7)
    _recount_is_due(catalog)
    count = catalog.products.count

    def count_and_change(generation: str) -> tuple[int, int]:
        found = count(generation)
        catalog.collections.add_images(collection.key, collection.generation, 1)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(catalog.products, "count", count_and_change)
        assert recount(catalog) == []
    found = catalog.collections.find(collection.user, collection.name)
    assert found is not None
    assert found.image_count == 8
    _recount_is_due(catalog)
    assert [wrong.images for wrong in recount(catalog)] == [0]


def _recount_is_due(catalog: Catalog) -> None:
    """Let all changes be of long ago."""
    rows = catalog.client[settings().mongo_database]["collections"]
    times = {"recount_at": 1, "changed_at": 1, "uncounted_since": 1}
    assert rows.update_many({"recount_at": {"$gt": 0}}, {"$set": times}).matched_count


def test_a_collection_whose_creation_was_cut_off_gives_its_place_back(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = catalog.client[settings().mongo_database]

    def cut(*_: object) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(catalog.collections._rows, "insert_one", cut)
        with pytest.raises(Cut):
            catalog.collections.find_or_create("taker", "never", 1)
    assert rows["users"].find_one({"_id": "taker"}) == {"_id": "taker", "collections": ["never"]}
    assert catalog.purges.due(10) == []
    rows["purges"].update_many({}, {"$set": {"due_at": 1, "deleted_at": 1}})
    (purge,) = catalog.purges.due(10)
    assert not catalog.collections.is_alive(purge.collection, purge.generation)
    assert catalog.purges.found_nothing(purge)
    catalog.collections.forget_name(purge.collection)
    made = catalog.collections.find_or_create("taker", "another", 1)
    assert made.created_at <= now()
    assert rows["purges"].find_one() is None


def test_two_generations_never_have_the_same_name(catalog: Catalog) -> None:
    """Not even those of a database that was restored to an earlier moment: they are random."""
    made = {catalog.collections.find_or_create("u", f"c{n}", 0).generation for n in range(20)}
    assert len(made) == 20
    assert all(len(generation) == 16 for generation in made)
