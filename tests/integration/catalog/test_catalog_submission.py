"""Taking images in: never one too many, and what is refused holds nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from catalog.database.connection import connect
from catalog.flows.removal import delete_product
from catalog.rows.chunks import Chunk, Item, Stage, State
from catalog.rows.claims import name_key
from catalog.rows.collections import CollectionRow
from catalog.rows.images import Failure, Images
from catalog.store import Catalog
from config.settings import settings
from contract.errors import (
    ImageNumExceedPerProductLimit,
    NotExistingProduct,
    RepeatImageNameInDb,
)
from tests.catalogues import default_catalog
from tests.integration.catalog.at_once import at_once
from tests.integration.catalog.rows import (
    Taken,
    add_products,
    by_payload,
    by_url,
    image_count,
    submit,
)


def labels_of(submission: Taken) -> list[int]:
    return [label for chunk in submission.chunks for label in chunk.labels]


def image_ids(chunks: list[Chunk]) -> list[list[str]]:
    return [[item.image_id for item in chunk.items] for chunk in chunks]


def names_held(catalog: Catalog, collection: CollectionRow, *image_ids: str) -> set[str]:
    keys = {name_key(collection.generation, image_id): image_id for image_id in image_ids}
    return {keys[key] for key in catalog.names.holders(list(keys))}


def test_a_limit_is_never_exceeded_by_calls_at_once_and_the_count_is_what_was_placed(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")

    def call(number: int) -> Taken:
        images = [by_url("p", f"p{number}-{n}") for n in range(3)]
        images.append(by_url("q", f"q{number}"))
        return submit(catalog, collection, products, images, images_per_product=7)

    submissions = at_once(20, call)
    placed = {"p": 0, "q": 0}
    for number, submission in enumerate(submissions):
        assert submission.task is not None or len(submission.refused) == 4
        assert set(submission.refused.values()) <= {ImageNumExceedPerProductLimit}
        assert len(labels_of(submission)) + len(submission.refused) == 4
        taken = Counter(item.product_id for chunk in submission.chunks for item in chunk.items)
        placed["p"] += taken["p"]
        placed["q"] += taken["q"]
        names = [f"p{number}-{n}" for n in range(3)] + [f"q{number}"]
        expected = {names[position] for position in range(4) if position not in submission.refused}
        assert names_held(catalog, collection, *names) == expected
    for product_id, count in placed.items():
        assert count <= 7
        assert image_count(catalog, products[product_id]) == count
        assert len(catalog.images.of_product(products[product_id].serial)) == count


def test_calls_one_after_the_other_fill_a_product_to_its_limit(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p")
    for number in range(4):
        images = [by_url("p", f"{number}-{n}") for n in range(2)]
        submission = submit(catalog, collection, products, images, images_per_product=5)
        full = {0: [], 1: [], 2: [1], 3: [0, 1]}[number]
        assert submission.refused == dict.fromkeys(full, ImageNumExceedPerProductLimit)
        assert (submission.task is None) == (number == 3)
    assert image_count(catalog, products["p"]) == 5


def test_the_first_images_of_a_call_get_the_slots(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    images = [by_url("pq"[n % 2], f"i{n}") for n in range(8)]
    submission = submit(catalog, collection, products, images, images_per_product=3)
    assert submission.refused == dict.fromkeys((6, 7), ImageNumExceedPerProductLimit)
    assert image_ids(submission.chunks) == [[f"i{n}" for n in range(6)]]


def test_an_image_that_was_refused_may_come_again_when_there_is_room(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p")
    images = [by_url("p", "a"), by_url("p", "b")]
    submit(catalog, collection, products, images, images_per_product=1)
    again = submit(catalog, collection, products, images[1:], images_per_product=2)
    assert again.refused == {}
    assert image_count(catalog, products["p"]) == 2


def test_no_limit_is_no_limit(catalog: Catalog, collection: CollectionRow) -> None:
    products = add_products(catalog, collection, "p")
    images = [by_url("p", f"i{n}") for n in range(40)]
    assert submit(catalog, collection, products, images).refused == {}
    assert image_count(catalog, products["p"]) == 40


def test_a_name_that_is_taken_is_refused_and_takes_no_slot(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    first = submit(catalog, collection, products, [by_url("p", "a")])
    images = [by_url("q", "a"), by_url("q", "b")]
    second = submit(catalog, collection, products, images, images_per_product=1)
    assert second.refused == {0: RepeatImageNameInDb}
    assert image_count(catalog, products["q"]) == 1
    key = name_key(collection.generation, "a")
    assert catalog.names.holders([key]) == {key: labels_of(first)[0]}


@pytest.mark.parametrize("end", ["deleted", "failed"])
def test_the_name_and_the_place_of_a_dead_image_are_free_before_it_released_them(
    catalog: Catalog, collection: CollectionRow, end: str
) -> None:
    products = add_products(catalog, collection, "p")
    image = by_url("p", "a")
    first = submit(catalog, collection, products, [image], images_per_product=1)
    # Ended by a process that died before it released anything.
    if end == "deleted":
        catalog.images.delete(labels_of(first))
    else:
        catalog.images.fail(labels_of(first), Failure(message="INSERT_IMAGE_ERROR"))
    second = submit(catalog, collection, products, [image], images_per_product=1)
    assert second.refused == {}
    third = submit(catalog, collection, products, [image], images_per_product=2)
    assert third.refused == {0: RepeatImageNameInDb}
    assert image_count(catalog, products["p"]) == 1


def test_a_name_is_held_by_a_submission_that_has_written_no_row_yet(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p")
    key = name_key(collection.generation, "a")
    assert catalog.names.take({key: 7}) == set()
    refused = submit(catalog, collection, products, [by_url("p", "a")]).refused
    assert refused == {0: RepeatImageNameInDb}
    assert catalog.names.holders([key]) == {key: 7}


def test_a_call_of_which_nothing_is_left_makes_no_task_and_holds_nothing(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p")
    submit(catalog, collection, products, [by_url("p", "a")])
    submission = submit(catalog, collection, products, [by_url("p", "a")])
    assert (submission.task, submission.chunks) == (None, [])
    assert submission.refused == {0: RepeatImageNameInDb}
    assert image_count(catalog, products["p"]) == 1


def test_of_many_calls_for_the_same_name_one_gets_it(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p")

    def call(number: int) -> Taken:
        images = [by_url("p", "a"), by_url("p", f"own {number}")]
        return submit(catalog, collection, products, images)

    submissions = at_once(16, call)
    winners = [submission for submission in submissions if submission.refused == {}]
    assert len(winners) == 1
    losers = [submission.refused for submission in submissions if submission.refused]
    assert losers == [{0: RepeatImageNameInDb}] * 15
    assert image_count(catalog, products["p"]) == 17
    key = name_key(collection.generation, "a")
    assert catalog.names.holders([key])[key] in labels_of(winners[0])


def test_urls_start_at_fetch_and_payloads_at_vision_in_chunks_of_the_size(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p")
    images = [
        by_payload("p", f"i{n}") if n in (1, 4, 6) else by_url("p", f"i{n}") for n in range(8)
    ]
    submission = submit(catalog, collection, products, images, chunk_images=2)
    by_stage = {
        stage: image_ids([chunk for chunk in submission.chunks if chunk.stage is stage])
        for stage in Stage
    }
    assert by_stage == {
        Stage.FETCH: [["i0", "i2"], ["i3", "i5"], ["i7"]],
        Stage.VISION: [["i1", "i4"], ["i6"]],
        Stage.INDEX: [],
    }
    assert len({chunk.id for chunk in submission.chunks}) == 5
    assert {chunk.state for chunk in submission.chunks} == {State.SENT}


def test_every_row_is_there_for_another_process_when_the_call_returns(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p")
    images = [by_url("p", "a"), by_payload("p", "b", b"the picture")]
    submission = submit(catalog, collection, products, images)
    assert submission.task is not None
    client = connect(settings().mongo_url.get_secret_value(), 5.0)
    other = default_catalog(client, settings().mongo_database)
    try:
        task = other.tasks.find(submission.task.task_id)
        assert task == submission.task
        assert task is not None
        assert (task.user, task.collection, task.image_count) == ("1001", collection.key, 2)
        assert set(task.chunk_ids) == {chunk.id for chunk in submission.chunks}
        stored = other.chunks.find(task.chunk_ids)
        # The sweep's time to look is set once more when all is written.
        assert {replace(chunk, due_at=None) for chunk in stored} == {
            replace(chunk, due_at=None) for chunk in submission.chunks
        }
        rows = other.images.find(labels_of(submission))
        by_name = {row.image_id: row for row in rows.values()}
        assert by_name["a"].url == images[0].url
        assert by_name["b"].url is None
        assert other.payloads.get(list(rows)) == {by_name["b"].label: b"the picture"}
        for row in rows.values():
            assert row.is_open
            assert row.collection == collection.key
            assert row.product_serial == products["p"].serial
            assert (row.product_name, row.category) == ("name of p", "其他")
    finally:
        client.close()


def test_items_of_a_chunk_say_what_the_rows_say(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    submission = submit(catalog, collection, products, [by_url("q", "a"), by_url("p", "b")])
    (chunk,) = submission.chunks
    for item in chunk.items:
        row = catalog.images.find([item.label])[item.label]
        assert item == Item(
            label=row.label,
            product_id=row.product_id,
            product_serial=row.product_serial,
            image_id=row.image_id,
        )


def test_images_of_a_product_that_was_deleted_before_the_call_are_refused(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    catalog.products.begin_deletion([products["p"]])
    delete_product(catalog, products["p"])
    images = [by_url("p", "a"), by_url("q", "b")]
    submission = submit(catalog, collection, products, images, images_per_product=5)
    assert submission.refused == {0: NotExistingProduct}
    assert names_held(catalog, collection, "a", "b") == {"b"}
    assert image_count(catalog, products["q"]) == 1


def test_images_of_a_product_that_is_deleted_during_the_call_end_as_3007_and_hold_nothing(
    catalog: Catalog, collection: CollectionRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = add_products(catalog, collection, "p", "q")
    insert = Images.insert

    def deleted_just_before(images: Images, rows: list[object]) -> None:
        catalog.products.begin_deletion([products["p"]])
        delete_product(catalog, products["p"])
        insert(images, rows)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Images, "insert", deleted_just_before)
        images = [by_payload("p", "a"), by_payload("q", "b")]
        submission = submit(catalog, collection, products, images)
    assert submission.refused == {}
    rows = {row.image_id: row for row in catalog.images.find(labels_of(submission)).values()}
    assert rows["a"].outcome == NotExistingProduct.message
    assert rows["b"].is_open
    assert names_held(catalog, collection, "a", "b") == {"b"}
    assert catalog.payloads.get(labels_of(submission)).keys() == {rows["b"].label}
    assert image_count(catalog, products["q"]) == 1


def test_whoever_deletes_a_product_while_calls_come_no_image_of_it_stays_alive(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p")

    def call_or_delete(number: int) -> None:
        if number == 5:
            catalog.products.begin_deletion([products["p"]])
            delete_product(catalog, products["p"])
        else:
            submit(catalog, collection, products, [by_url("p", f"i{number}")])

    at_once(10, call_or_delete)
    images = catalog.images.of_product(products["p"].serial)
    assert [image.image_id for image in images if image.is_open] == []
    assert names_held(catalog, collection, *(f"i{number}" for number in range(10))) == set()
