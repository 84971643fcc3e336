"""What goes after its time, and what stays; idempotency keys; the backlog; the catalogue's id."""

from __future__ import annotations

import time
from datetime import timedelta

import numpy as np
import pytest

from catalog.coordination.catalogue_id import CatalogueId
from catalog.database.connection import now
from catalog.flows import retention
from catalog.flows.removal import delete_images, fail_images
from catalog.rows.chunks import Chunks
from catalog.rows.collections import CollectionRow
from catalog.rows.idempotency_keys import IdempotencyKeys
from catalog.rows.images import SUCCEEDED
from catalog.rows.tasks import OpenWork
from catalog.store import Catalog, open_catalog
from config.settings import settings
from contract.errors import BrokenBase64OrUrl
from tests.catalogues import default_durations
from tests.integration.catalog.at_once import at_once
from tests.integration.catalog.rows import (
    add_images,
    add_products,
    by_payload,
    by_url,
    open_task,
    submit,
)

AT_ONCE = timedelta(0)


def forget_tasks(catalog: Catalog, limit: int) -> int:
    due = catalog.tasks.to_be_removed(now(), limit)
    retention.forget_tasks(catalog, due)
    return len(due)


def forget_images(catalog: Catalog, limit: int) -> int:
    return retention.forget_images(catalog, catalog.images.to_be_removed(now(), limit))


@pytest.fixture
def forgetful(catalog: Catalog) -> Catalog:
    """The same catalogue, in which every time is over at once."""
    times = default_durations(task=AT_ONCE, deleted=AT_ONCE, key=AT_ONCE, submission=AT_ONCE)
    return open_catalog(catalog.client, settings().mongo_database, times)


def finished_task(catalog: Catalog, collection: CollectionRow) -> tuple[str, list[int]]:
    """Return a task that ended with one image found and one failed, and their labels."""
    products = add_products(catalog, collection, "p")
    taken = submit(catalog, collection, products, [by_url("p", "good"), by_url("p", "bad")])
    (chunk,) = taken.chunks
    good, bad = chunk.labels
    catalog.vectors.put("m", {good: np.ones(4, np.float32)})
    catalog.images.succeed([good])
    fail_images(catalog, {bad: BrokenBase64OrUrl()}, "vision")
    claimed = catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
    assert claimed is not None
    assert catalog.chunks.finish(claimed, [SUCCEEDED, BrokenBase64OrUrl.message])
    catalog.tasks.finish(chunk.task_id, 1, 1)
    return chunk.task_id, [good, bad]


def test_a_finished_task_goes_after_its_time_with_its_chunks_and_failed_images(
    forgetful: Catalog, collection: CollectionRow
) -> None:
    task_id, (good, bad) = finished_task(forgetful, collection)
    task = forgetful.tasks.find(task_id)
    assert task is not None
    assert forget_tasks(forgetful, 10) == 1
    assert forgetful.tasks.find(task_id) is None
    assert forgetful.chunks.find(task.chunk_ids) == []
    assert list(forgetful.images.find([good, bad])) == [good]
    assert forgetful.vectors.present([good]) == {good}
    assert forget_tasks(forgetful, 10) == 0


def test_a_task_stays_until_its_time_and_an_unfinished_one_for_ever(
    catalog: Catalog, forgetful: Catalog, collection: CollectionRow
) -> None:
    task_id, _ = finished_task(catalog, collection)
    open_task(forgetful, 3)
    assert forget_tasks(catalog, 10) == 0
    assert catalog.tasks.find(task_id) is not None


def test_the_row_of_a_deleted_image_goes_when_nothing_else_is_left_of_it(
    forgetful: Catalog, collection: CollectionRow
) -> None:
    product = add_products(forgetful, collection, "p")["p"]
    gone, alive = add_images(forgetful, product, "a", "b")
    forgetful.images.succeed([gone, alive])
    delete_images(forgetful, [gone])
    assert forget_images(forgetful, 10) == 0
    forgetful.images.schedule_removal([gone])
    time.sleep(0.002)
    assert forget_images(forgetful, 10) == 1
    assert list(forgetful.images.find([gone, alive])) == [alive]


def test_the_row_of_a_deleted_image_stays_while_its_task_still_asks_for_it(
    catalog: Catalog, forgetful: Catalog, collection: CollectionRow
) -> None:
    product = add_products(catalog, collection, "p")["p"]
    (label,) = add_images(catalog, product, "a")
    delete_images(catalog, [label])
    forgetful.images.schedule_removal([label])
    time.sleep(0.002)
    assert forget_images(catalog, 10) == 0
    assert list(catalog.images.find([label])) == [label]
    assert catalog.images.to_be_removed(now(), 10) == []


def test_one_of_many_calls_with_a_key_works_on_it(catalog: Catalog) -> None:
    found = at_once(8, lambda _: catalog.keys.take("u", "k", "body"))
    assert [is_new for _, is_new in found].count(True) == 1
    assert len({row.holder for row, _ in found}) == 1
    _, is_new = catalog.keys.take("other", "k", "body")
    assert is_new


def test_a_key_is_taken_over_once_and_then_its_first_holder_changes_nothing(
    catalog: Catalog,
) -> None:
    row, _ = catalog.keys.take("u", "k", "body")
    retaken = at_once(6, lambda _: catalog.keys.retake(row))
    taken = [found for found in retaken if found is not None]
    assert len(taken) == 1
    assert not catalog.keys.note(row, "late")
    catalog.keys.give_back(row)
    assert catalog.keys.note(taken[0], "u/c/1")
    again, is_new = catalog.keys.take("u", "k", "other body")
    assert (again.task_id, again.body, is_new) == ("u/c/1", "body", False)


def test_a_key_goes_after_its_time_and_not_when_its_call_was_cut_off(catalog: Catalog) -> None:
    def keys(**times: timedelta) -> IdempotencyKeys:
        return open_catalog(
            catalog.client, settings().mongo_database, default_durations(**times)
        ).keys

    catalog.keys.take("u", "stays", "body")
    cut_off, _ = keys(submission=AT_ONCE).take("u", "cut off", "body")
    gone, _ = keys(key=AT_ONCE).take("u", "goes", "body")
    keys(key=AT_ONCE).take("u", "goes too", "body")
    assert (cut_off.is_overdue, gone.is_overdue) == (True, False)
    time.sleep(0.002)
    at = now()
    due = catalog.keys.to_be_removed(at, 100)
    assert sorted(due) == ["u/goes", "u/goes too"]
    assert len(catalog.keys.to_be_removed(at, 1)) == 1
    catalog.keys.remove(due, at)
    named = ("stays", "cut off", "goes", "goes too")
    assert [catalog.keys.take("u", key, "x")[1] for key in named] == [False, False, True, True]


def test_a_key_that_was_sent_again_since_the_old_one_was_read_stays(
    catalog: Catalog, forgetful: Catalog
) -> None:
    forgetful.keys.take("u", "k", "body")
    time.sleep(0.002)
    at = now()
    read_by_two = catalog.keys.to_be_removed(at, 100)
    catalog.keys.remove(read_by_two, at)
    anew, is_new = catalog.keys.take("u", "k", "body")
    assert is_new
    catalog.keys.remove(read_by_two, at)
    assert catalog.keys.note(anew, "u/c/1")


def test_a_key_that_was_given_back_is_new_again(catalog: Catalog) -> None:
    row, _ = catalog.keys.take("u", "k", "body")
    catalog.keys.give_back(row)
    assert isinstance(catalog.keys, IdempotencyKeys)
    assert catalog.keys.take("u", "k", "body")[1]


def test_the_backlog_is_what_the_unfinished_tasks_hold(
    catalog: Catalog, collection: CollectionRow
) -> None:
    assert catalog.tasks.backlog() == OpenWork(0, 0)
    products = add_products(catalog, collection, "p")
    images = [by_payload("p", "a", b"12345"), by_url("p", "b"), by_payload("p", "c", b"123")]
    taken = submit(catalog, collection, products, images)
    open_task(catalog, 40, payload_bytes=100)
    catalog.tasks.begin("u", "u/c", "1f", [])
    assert catalog.tasks.backlog() == OpenWork(43, 108)
    assert taken.task is not None
    catalog.tasks.finish(taken.task.task_id, 3, 0)
    assert catalog.tasks.backlog() == OpenWork(40, 100)


def test_the_oldest_message_is_the_one_that_nobody_has_started(
    catalog: Catalog, collection: CollectionRow
) -> None:
    assert catalog.chunks.oldest_sent() is None
    products = add_products(catalog, collection, "p")
    first = submit(catalog, collection, products, [by_url("p", "a")]).chunks[0]
    time.sleep(0.002)
    second = submit(catalog, collection, products, [by_url("p", "b")]).chunks[0]
    assert catalog.chunks.oldest_sent() == first.sent_at
    claimed = catalog.chunks.claim(first.id, first.stage, first.attempt)
    assert catalog.chunks.oldest_sent() == second.sent_at
    assert claimed is not None
    assert catalog.chunks.finish(claimed, [SUCCEEDED])
    assert isinstance(catalog.chunks, Chunks)
    assert catalog.chunks.claim(second.id, second.stage, second.attempt) is not None
    assert catalog.chunks.oldest_sent() is None


def test_a_catalogue_has_one_id_until_it_is_renewed(catalog: Catalog) -> None:
    rows = catalog.client[settings().mongo_database]["schema"]
    rows.delete_many({"_id": "catalogue"})
    ids = set(at_once(6, lambda _: CatalogueId(rows).get()))
    assert len(ids) == 1
    identity = CatalogueId(rows)
    assert identity.get() in ids
    identity.renew()
    assert identity.get() not in ids
    assert CatalogueId(rows).get() == identity.get()
