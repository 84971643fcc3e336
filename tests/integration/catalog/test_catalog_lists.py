"""Pages of long lists, and what is left of a collection that was deleted."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from pymongo.database import Database

from catalog.database.connection import now
from catalog.flows.removal import delete_collection, fail_images, purge_piece, vanished
from catalog.rows import purges
from catalog.rows.collections import CollectionRow
from catalog.store import Catalog
from contract.errors import BrokenBase64OrUrl
from tests.integration.catalog.rows import add_products, by_payload, by_url, open_task, submit


def test_products_come_in_pages_in_the_order_of_their_creation(
    catalog: Catalog, collection: CollectionRow
) -> None:
    other = catalog.collections.find_or_create("user", "other", 0)
    ids = [f"p{n}" for n in (5, 3, 9, 1, 7)]
    for product_id in ids:
        add_products(catalog, collection, product_id)
        add_products(catalog, other, product_id)
    seen: list[str] = []
    place: str | None = ""
    while place is not None:
        page = catalog.products.page(collection.generation, place, 2)
        assert len(page.rows) <= 2
        seen += [product.product_id for product in page.rows]
        place = page.next
    assert seen == ids


def test_a_place_of_another_list_is_refused(catalog: Catalog, collection: CollectionRow) -> None:
    other = catalog.collections.find_or_create("user", "other", 0)
    for product_id in ("a", "b", "c"):
        add_products(catalog, other, product_id)
    place = catalog.products.page(other.generation, "", 1).next
    assert place is not None
    with pytest.raises(ValueError, match="place"):
        catalog.products.page(collection.generation, place, 1)
    with pytest.raises(ValueError, match="place"):
        catalog.tasks.page("user", None, "zzz", 1)


def test_collections_come_by_name_and_only_those_of_the_user(catalog: Catalog) -> None:
    for name in ("c", "a", "b"):
        catalog.collections.find_or_create("lister", name, 0)
    catalog.collections.find_or_create("other", "d", 0)
    first = catalog.collections.page("lister", "", 2)
    assert [found.name for found in first.rows] == ["a", "b"]
    assert first.next is not None
    second = catalog.collections.page("lister", first.next, 2)
    assert ([found.name for found in second.rows], second.next) == (["c"], None)
    assert catalog.collections.page("nobody", "", 2).rows == []


def test_tasks_come_newest_first_by_user_and_by_collection(catalog: Catalog) -> None:
    ids = [open_task(catalog, 1, "u", name).task_id for name in ("a", "b", "a")]
    open_task(catalog, 1, "u2", "a")
    page = catalog.tasks.page("u", None, "", 2)
    assert [task.task_id for task in page.rows] == [ids[2], ids[1]]
    assert page.next is not None
    assert [task.task_id for task in catalog.tasks.page("u", None, page.next, 2).rows] == [ids[0]]
    assert [task.task_id for task in catalog.tasks.page("u", "u/a", "", 9).rows] == [ids[2], ids[0]]


@pytest.mark.parametrize("key", [None, "u/a"])
def test_tasks_of_a_state_come_newest_first_from_any_place_of_the_list_of_all(
    catalog: Catalog, key: str | None
) -> None:
    ids = [open_task(catalog, 1, "u", "a").task_id for _ in range(7)]
    open_task(catalog, 1, "u2", "a")
    for task_id in (ids[1], ids[4], ids[6]):
        catalog.tasks.finish(task_id, 1, 0)

    def listed(before: str, limit: int, is_finished: bool) -> tuple[list[int], str | None]:
        page = catalog.tasks.page("u", key, before, limit, is_finished)
        assert {task.ending is not None for task in page.rows} <= {is_finished}
        return [ids.index(task.task_id) for task in page.rows], page.next

    found, place = listed("", 2, True)
    assert found == [6, 4]
    assert place is not None
    assert listed(place, 2, True) == ([1], None)
    found, place = listed("", 2, False)
    assert found == [5, 3]
    assert place is not None
    assert listed(place, 9, False) == ([2, 0], None)
    of_all = catalog.tasks.page("u", key, "", 3).next
    assert of_all is not None
    assert listed(of_all, 9, True) == ([1], None), "after the newest three of all"


@pytest.mark.parametrize("field", ["listing", "task_id", "state_listing", "state_task_id"])
def test_a_list_of_tasks_is_read_from_an_index_in_its_order(
    rows: Database[dict[str, Any]], field: str
) -> None:
    open_one = {"$gt": "u/", "$lt": "u/:"}
    plan = rows["tasks"].find({field: open_one}).sort(field, -1).limit(3).explain()
    # The embedded server tells SQLite's plan, MongoDB one of stages.
    told = str(plan["queryPlanner"])
    assert "SEARCH" in told or "IXSCAN" in told, told
    assert "TEMP B-TREE" not in told, told
    assert "'SORT'" not in told, told


def test_the_first_note_of_how_a_task_ended_stays(catalog: Catalog) -> None:
    task_id = open_task(catalog, 3, "u", "a").task_id
    catalog.tasks.finish(task_id, 2, 1)
    catalog.tasks.finish(task_id, 0, 3)
    task = catalog.tasks.find(task_id)
    assert task is not None
    assert task.ending is not None
    assert (task.ending.succeeded, task.ending.failed) == (2, 1)


def test_a_collection_counts_its_images_as_its_products_do(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    images = [by_url("p", "a"), by_url("q", "b"), by_url("p", "c")]
    (chunk,) = submit(catalog, collection, products, images).chunks
    fail_images(catalog, {chunk.labels[2]: BrokenBase64OrUrl()}, "vision")
    found = catalog.collections.find(collection.user, collection.name)
    assert found is not None
    rows = catalog.products.find(collection.generation, ["p", "q"])
    assert found.image_count == sum(product.image_count for product in rows.values()) == 2


def test_of_a_deleted_collection_nothing_is_left_after_a_while(
    catalog: Catalog, collection: CollectionRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = add_products(catalog, collection, "p", "q")
    images = [by_payload("p", f"i{n}", f"bytes {n}".encode()) for n in range(5)]
    submission = submit(catalog, collection, products, images)
    labels = [label for chunk in submission.chunks for label in chunk.labels]
    catalog.images.succeed(labels[:2])
    delete_collection(catalog, collection)
    assert catalog.collections.find(collection.user, collection.name) is None
    items = [item for chunk in submission.chunks for item in chunk.items]
    gone = vanished(catalog, collection.key, collection.generation, items)
    assert {fault.message for fault in gone.values()} == {"NO_RELATIVE_COLLECTION"}
    (purge,) = catalog.purges.due(10)
    while purge_piece(catalog, purge, 2):
        pass
    assert catalog.images.find(labels) == {}
    assert catalog.payloads.get(labels) == {}
    assert catalog.names.holders([f"{collection.generation}/i{n}" for n in range(5)]) == {}
    assert catalog.products.find(collection.generation, ["p", "q"]) == {}
    assert catalog.purges.found_nothing(purge) is False, "a late submission may still write"
    monkeypatch.setattr(purges, "LINGER", timedelta(0))
    assert catalog.purges.found_nothing(purge) is True
    assert catalog.purges.due(10) == []
    assert now() > purge.deleted_at


def test_a_deletion_that_begins_again_keeps_the_purge_that_was_just_found_done(
    catalog: Catalog, collection: CollectionRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.purges.begin(collection.generation, collection.key)
    (purge,) = catalog.purges.due(10)
    monkeypatch.setattr(purges, "LINGER", timedelta(0))
    time.sleep(0.002)
    catalog.purges.begin(collection.generation, collection.key)
    assert catalog.purges.found_nothing(purge) is False
    catalog.collections.remove(collection.key, collection.generation)
    assert catalog.purges.find(collection.generation) is not None, "its rows still have to go"


def test_a_collection_created_again_has_nothing_of_the_first(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p")
    submit(catalog, collection, products, [by_url("p", "a")])
    delete_collection(catalog, collection)
    again = catalog.collections.find_or_create(collection.user, collection.name, 1)
    assert again.generation != collection.generation
    assert (again.product_count, again.image_count) == (0, 0)
    products = add_products(catalog, again, "p")
    assert submit(catalog, again, products, [by_url("p", "a")]).refused == {}
    (purge,) = catalog.purges.due(10)
    while purge_piece(catalog, purge, 100):
        pass
    assert set(catalog.products.find(again.generation, ["p"])) == {"p"}
    assert catalog.names.holders([f"{again.generation}/a"]) != {}
