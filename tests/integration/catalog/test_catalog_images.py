"""Images: their state is derived, and what they hold is given back once."""

from __future__ import annotations

import time
from datetime import timedelta

import numpy as np
import pytest
from pymongo.errors import BulkWriteError

from catalog.database.connection import databases, now
from catalog.flows.removal import clear_ended, delete_images, fail_images, release_images
from catalog.rows.claims import content_key, name_key
from catalog.rows.collections import CollectionRow
from catalog.rows.images import SUCCEEDED, Failure, ImageRow
from catalog.rows.products import ProductRow
from catalog.store import Catalog
from config.settings import settings
from contract.errors import BrokenBase64OrUrl, DuplicateImage
from tests.integration.catalog.at_once import at_once
from tests.integration.catalog.rows import add_images, add_products, by_payload, image_count, submit

#: The lease of these tests is 1 s.
LEASE = timedelta(seconds=1)
LATER = LEASE + timedelta(seconds=1)


@pytest.fixture
def product(catalog: Catalog, collection: CollectionRow) -> ProductRow:
    return add_products(catalog, collection, "p")["p"]


def image(catalog: Catalog, label: int) -> ImageRow:
    return catalog.images.find([label])[label]


def test_an_image_comes_back_as_it_was_written(catalog: Catalog) -> None:
    rows = [
        ImageRow(
            label=1,
            collection="u/c",
            generation="1f",
            product_id="p",
            product_serial=9,
            product_name="商品",
            category="鞋靴",
            image_id="图/1",
            image_info="正面 '\"",
            url="http://h/a?b=c",
        ),
        ImageRow(
            label=2,
            collection="u/c",
            generation="1f",
            product_id="p",
            product_serial=9,
            product_name="商品",
            category="鞋靴",
            image_id="b",
            image_info="",
            url=None,
        ),
    ]
    catalog.images.insert(rows)
    assert catalog.images.find([1, 2, 3]) == {1: rows[0], 2: rows[1]}
    assert catalog.images.of_product(9) == rows
    assert catalog.images.of_product(8) == []


def test_a_label_is_never_written_twice(catalog: Catalog, product: ProductRow) -> None:
    (label,) = add_images(catalog, product, "a")
    with pytest.raises(BulkWriteError):
        catalog.images.insert([image(catalog, label)])


def test_a_new_image_is_open_and_not_findable(catalog: Catalog, product: ProductRow) -> None:
    (label,) = add_images(catalog, product, "a")
    assert image(catalog, label).is_open
    assert not image(catalog, label).is_findable


def test_an_image_that_succeeded_is_findable_and_stays_so_whatever_comes_later(
    catalog: Catalog, product: ProductRow
) -> None:
    (label,) = add_images(catalog, product, "a")
    catalog.images.succeed([label])
    catalog.images.fail([label], Failure(message="LATE"))
    assert image(catalog, label).outcome == SUCCEEDED
    assert image(catalog, label).is_findable
    assert not image(catalog, label).is_open


def test_an_image_that_failed_keeps_its_first_message_and_never_succeeds(
    catalog: Catalog, product: ProductRow
) -> None:
    (label,) = add_images(catalog, product, "a")
    catalog.images.fail([label], Failure(message="FIRST"))
    catalog.images.fail([label], Failure(message="SECOND"))
    catalog.images.succeed([label])
    assert image(catalog, label).outcome == "FIRST"
    assert not image(catalog, label).is_findable


def test_a_deleted_image_never_succeeds_but_may_still_be_told_a_message(
    catalog: Catalog, product: ProductRow
) -> None:
    (label,) = add_images(catalog, product, "a")
    catalog.images.delete([label])
    catalog.images.succeed([label])
    assert image(catalog, label).outcome is None
    assert not image(catalog, label).is_open
    catalog.images.fail([label], Failure(message="NO_RELATIVE_IMAGE"))
    assert image(catalog, label).outcome == "NO_RELATIVE_IMAGE"


def test_deletion_beats_success(catalog: Catalog, product: ProductRow) -> None:
    (label,) = add_images(catalog, product, "a")
    catalog.images.succeed([label])
    catalog.images.delete([label])
    assert image(catalog, label).outcome == SUCCEEDED
    assert not image(catalog, label).is_findable


def test_the_time_of_a_deletion_stays_the_first(catalog: Catalog, product: ProductRow) -> None:
    (label,) = add_images(catalog, product, "a")
    before = now()
    catalog.images.delete([label])
    first = image(catalog, label).deleted_at
    assert first is not None
    assert before <= first <= now()
    while now() == first:
        pass
    catalog.images.delete([label])
    assert image(catalog, label).deleted_at == first


def test_only_the_images_that_are_named_change(catalog: Catalog, product: ProductRow) -> None:
    labels = add_images(catalog, product, "a", "b", "c", "d")
    catalog.images.succeed(labels[:1])
    catalog.images.fail(labels[1:2], Failure(message="FAULT"))
    catalog.images.delete(labels[2:3])
    found = [image(catalog, label) for label in labels]
    assert [row.outcome for row in found] == [SUCCEEDED, "FAULT", None, None]
    assert [row.deleted_at is None for row in found] == [True, True, False, True]


def test_of_many_endings_at_once_every_image_gets_exactly_one(
    catalog: Catalog, product: ProductRow
) -> None:
    labels = add_images(catalog, product, *"abcdefgh")
    seen: list[dict[int, str | None]] = []

    def end(number: int) -> None:
        if number % 2:
            catalog.images.fail(labels, Failure(message=f"FAULT {number}"))
        else:
            catalog.images.succeed(labels)
        rows = catalog.images.find(labels)
        seen.append({label: row.outcome for label, row in rows.items()})

    at_once(8, end)
    assert all(None not in outcomes.values() for outcomes in seen)
    assert all(outcomes == seen[0] for outcomes in seen)


def test_a_deleted_image_waits_for_its_purge_until_that_is_ended(
    catalog: Catalog, product: ProductRow
) -> None:
    labels = add_images(catalog, product, "a", "b", "c")
    catalog.images.delete(labels[:2])
    assert catalog.images.waiting_for_index(now(), 10) == []
    waiting = catalog.images.waiting_for_index(now() + LATER, 10)
    assert sorted(row.label for row in waiting) == labels[:2]
    assert len(catalog.images.waiting_for_index(now() + LATER, 1)) == 1
    catalog.images.index_is_right([image(catalog, labels[0])])
    assert [r.label for r in catalog.images.waiting_for_index(now() + LATER, 10)] == labels[1:2]


def test_a_reminder_that_was_written_after_the_row_was_read_stays(
    catalog: Catalog, product: ProductRow
) -> None:
    labels = add_images(catalog, product, "a")
    catalog.images.delete(labels)
    read = image(catalog, labels[0])
    time.sleep(0.002)
    catalog.images.ask_index(labels)
    catalog.images.index_is_right([read])
    assert [r.label for r in catalog.images.waiting_for_index(now() + LATER, 10)] == labels


def test_only_the_epoch_that_an_image_has_the_stamp_of_makes_it_findable(
    catalog: Catalog, product: ProductRow
) -> None:
    labels = add_images(catalog, product, "a", "b")
    catalog.images.claim_for_index(labels[:1], 5)
    catalog.images.take_over(6)
    catalog.images.claim_for_index(labels[:1], 5)
    catalog.images.succeed(labels, 5)
    assert [image(catalog, n).outcome for n in labels] == [None, None], "the later stamp stays"
    catalog.images.succeed(labels, 6)
    assert [image(catalog, n).outcome for n in labels] == [SUCCEEDED, None]


def test_an_image_that_has_its_outcome_has_no_stamp_any_more(
    catalog: Catalog, product: ProductRow
) -> None:
    labels = add_images(catalog, product, "a", "b")
    catalog.images.claim_for_index(labels, 5)
    catalog.images.succeed(labels[:1], 5)
    catalog.images.fail(labels[1:], Failure(message="FAULT"))
    catalog.images.claim_for_index(labels, 6)
    rows = databases(catalog.client, settings().mongo_database)[0]["images"]
    assert list(rows.find({"index_epoch": {"$gt": 0}})) == []


def test_a_postponed_purge_waits_longer(catalog: Catalog, product: ProductRow) -> None:
    labels = add_images(catalog, product, "a")
    catalog.images.delete(labels)
    deleted_at = image(catalog, labels[0]).deleted_at
    assert deleted_at is not None
    due = deleted_at + LEASE + timedelta(milliseconds=1)
    assert len(catalog.images.waiting_for_index(due, 10)) == 1
    while now() <= deleted_at + timedelta(milliseconds=1):
        pass
    catalog.images.ask_index(labels)
    assert catalog.images.waiting_for_index(due, 10) == []
    assert len(catalog.images.waiting_for_index(now() + LATER, 10)) == 1


def hold_everything(catalog: Catalog, collection: CollectionRow, product: ProductRow) -> list[int]:
    """Return the labels of two images that hold a name, a place, their bytes and a payload."""
    images = [by_payload("p", "a", b"one"), by_payload("p", "b", b"two")]
    submission = submit(catalog, collection, {"p": product}, images)
    labels = submission.chunks[0].labels
    catalog.contents.take({content_key(product.serial, f"sha {n}"): n for n in labels})
    return labels


def held(
    catalog: Catalog, collection: CollectionRow, product: ProductRow, labels: list[int]
) -> int:
    """Return how many names, bytes, payloads and slots are held."""
    names = catalog.names.holders([name_key(collection.generation, i) for i in ("a", "b")])
    contents = catalog.contents.holders([content_key(product.serial, f"sha {n}") for n in labels])
    payloads = catalog.payloads.get(labels)
    return len(names) + len(contents) + len(payloads) + image_count(catalog, product)


def test_failed_images_give_back_their_names_bytes_payloads_and_slots(
    catalog: Catalog, collection: CollectionRow, product: ProductRow
) -> None:
    labels = hold_everything(catalog, collection, product)
    assert held(catalog, collection, product, labels) == 8
    fail_images(catalog, {labels[0]: DuplicateImage()}, "vision")
    assert held(catalog, collection, product, labels) == 4
    assert image(catalog, labels[1]).is_open
    fail_images(catalog, {labels[1]: DuplicateImage()}, "vision")
    assert held(catalog, collection, product, labels) == 0


def test_images_that_fail_together_each_get_the_message_of_their_own_fault(
    catalog: Catalog, product: ProductRow
) -> None:
    labels = add_images(catalog, product, "a", "b", "c")
    fail_images(
        catalog,
        {labels[0]: DuplicateImage(), labels[1]: BrokenBase64OrUrl(), labels[2]: DuplicateImage()},
        "vision",
    )
    outcomes = [image(catalog, label).outcome for label in labels]
    assert outcomes == ["DUPLICATE_IMAGE", "BROKEN_BASE64_OR_URL", "DUPLICATE_IMAGE"]
    assert image_count(catalog, product) == 0


def test_failing_or_deleting_nothing_changes_nothing(catalog: Catalog, product: ProductRow) -> None:
    (label,) = add_images(catalog, product, "a")
    fail_images(catalog, {}, "vision")
    delete_images(catalog, [])
    release_images(catalog, [])
    assert image(catalog, label).is_open
    assert image_count(catalog, product) == 1


def test_a_place_is_given_back_once_though_the_release_comes_twice(
    catalog: Catalog, product: ProductRow
) -> None:
    labels = add_images(catalog, product, "a", "b")
    fail_images(catalog, {labels[0]: DuplicateImage()}, "vision")
    delete_images(catalog, [labels[0]])
    release_images(catalog, [labels[0]])
    assert image_count(catalog, product) == 1


def test_a_place_is_given_back_once_though_many_release_at_once(
    catalog: Catalog, product: ProductRow
) -> None:
    labels = add_images(catalog, product, *"abcdefghij")

    def end(number: int) -> None:
        if number % 2:
            delete_images(catalog, labels[:6])
        else:
            fail_images(catalog, dict.fromkeys(labels[3:8], DuplicateImage()), "vision")

    at_once(10, end)
    assert image_count(catalog, product) == 2


def test_whoever_comes_late_releases_nothing_of_an_image_that_can_be_found(
    catalog: Catalog, collection: CollectionRow, product: ProductRow
) -> None:
    """A worker that was stopped past its lease may hold another outcome than the one there is."""
    labels = hold_everything(catalog, collection, product)
    catalog.images.succeed(labels[:1])
    fail_images(catalog, dict.fromkeys(labels, BrokenBase64OrUrl()), "vision")
    rows = catalog.images.find(labels)
    assert [rows[label].outcome for label in labels] == [
        SUCCEEDED,
        *[BrokenBase64OrUrl.message] * (len(labels) - 1),
    ]
    assert (
        list(catalog.names.holders([name_key(collection.generation, "a")]).values()) == labels[:1]
    )
    assert catalog.products.find(collection.generation, ["p"])["p"].places == (labels[0],)


def test_what_a_late_worker_wrote_for_images_that_had_ended_is_removed_and_nothing_else(
    catalog: Catalog, product: ProductRow
) -> None:
    alive, dead = add_images(catalog, product, "a", "b")
    delete_images(catalog, [dead])
    labels = [alive, dead, dead + 1]
    catalog.contents.take({f"{product.serial}/{label}": label for label in labels})
    catalog.vectors.put("m", {label: np.ones(4, np.float32) for label in labels})
    catalog.pictures.put(dict.fromkeys(labels, b"jpeg"))
    assert clear_ended(catalog, labels) == [dead, dead + 1]
    assert catalog.vectors.present(labels) == {alive}
    assert set(catalog.pictures.get(labels)) == {alive}
    keys = [f"{product.serial}/{label}" for label in labels]
    assert catalog.contents.holders(keys) == {keys[0]: alive}


def test_the_name_of_a_deleted_image_can_be_taken_again_and_stays_with_the_new_one(
    catalog: Catalog, collection: CollectionRow, product: ProductRow
) -> None:
    labels = hold_everything(catalog, collection, product)
    delete_images(catalog, labels)
    assert held(catalog, collection, product, labels) == 0
    again = submit(catalog, collection, {"p": product}, [by_payload("p", "a")])
    assert again.refused == {}
    release_images(catalog, labels)
    key = name_key(collection.generation, "a")
    assert catalog.names.holders([key]) == {key: again.chunks[0].labels[0]}
    assert image_count(catalog, product) == 1


def test_images_are_found_in_the_order_in_which_they_are_asked_for(
    catalog: Catalog, product: ProductRow
) -> None:
    """Of two with the same bytes in one chunk the first is taken, so the order decides."""
    one, two, three = add_images(catalog, product, "a", "b", "c")
    for labels in ([one, two, three], [three, two, one], [two, three + 9, one]):
        assert list(catalog.images.find(labels)) == [n for n in labels if n <= three]
