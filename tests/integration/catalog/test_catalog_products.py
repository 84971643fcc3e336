"""Products: inserted once, counted exactly, deleted once, and never confused with an older one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from catalog.database.connection import now
from catalog.flows.removal import delete_product, fail_images, vanished
from catalog.rows.chunks import Item
from catalog.rows.claims import name_key
from catalog.rows.collections import CollectionRow
from catalog.rows.products import ProductFields, ProductRow
from catalog.store import Catalog
from contract.errors import (
    ContractError,
    ExistingProduct,
    InsertImageError,
    NoRelativeCollection,
    NotExistingProduct,
)
from tests.integration.catalog.at_once import at_once
from tests.integration.catalog.rows import (
    add_images,
    add_products,
    image_count,
    submit,
    write_images,
)
from tests.integration.catalog.rows import by_url as url

MINUTE = timedelta(minutes=1)


def product_count(catalog: Catalog, collection: CollectionRow) -> int:
    return catalog.collections.add_products(collection.key, collection.generation, 0)


def recreate(catalog: Catalog, collection: CollectionRow, product: ProductRow) -> ProductRow:
    """Delete a product and create it again."""
    catalog.products.begin_deletion([product])
    delete_product(catalog, product)
    return add_products(catalog, collection, product.product_id)[product.product_id]


def test_products_that_are_there_are_told_by_their_positions(
    catalog: Catalog, collection: CollectionRow
) -> None:
    first = add_products(catalog, collection, "b", "d")
    new = [
        ProductFields(product_id=product_id, product_name="new", category="服装")
        for product_id in "abcd"
    ]
    assert set(catalog.products.insert(collection, new)) == {1, 3}
    found = catalog.products.find(collection.generation, "abcde")
    assert found.keys() == set("abcd")
    assert found["b"] == first["b"]
    assert (found["a"].product_name, found["a"].category) == ("new", "服装")
    assert found["a"].collection == collection.key
    assert found["a"].image_count == 0


def test_inserting_no_product_is_no_fault(catalog: Catalog, collection: CollectionRow) -> None:
    assert catalog.products.insert(collection, []) == {}


def test_every_product_has_a_serial_of_its_own_when_many_insert_at_once(
    catalog: Catalog, collection: CollectionRow
) -> None:
    ids = [f"p{number}" for number in range(10)]

    def insert(_: int) -> dict[int, type[ContractError]]:
        return catalog.products.insert(
            collection,
            [ProductFields(product_id=i, product_name="n", category="其他") for i in ids],
        )

    taken = at_once(8, insert)
    for position in range(10):
        assert sum(position not in positions for positions in taken) == 1
    found = catalog.products.find(collection.generation, ids)
    assert len({product.serial for product in found.values()}) == 10


def test_the_same_product_id_lives_apart_in_two_collections(
    catalog: Catalog, collection: CollectionRow
) -> None:
    other = catalog.collections.find_or_create("1001", "other", 0)
    here = add_products(catalog, collection, "p")["p"]
    there = add_products(catalog, other, "p")["p"]
    assert here.serial != there.serial
    catalog.products.take_places(here.generation, {"p": [1, 2]})
    assert (image_count(catalog, here), image_count(catalog, there)) == (2, 0)


def test_places_are_taken_and_left_exactly_by_many_at_once(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "a", "b")

    def step(number: int) -> int:
        mine = [10 * number, 10 * number + 1, 10 * number + 2]
        wanted = {"a": mine, "b": mine[:1], "none": mine}
        catalog.products.take_places(collection.generation, wanted)
        return catalog.products.release_places(collection.generation, "a", mine[:1])

    assert at_once(12, step) == [1] * 12
    assert image_count(catalog, products["a"]) == 24
    assert image_count(catalog, products["b"]) == 12


@pytest.mark.not_on("secantusdb", "the row before an update is read apart from it")
def test_a_place_is_taken_and_given_back_once_however_often_it_is_asked(
    catalog: Catalog, collection: CollectionRow
) -> None:
    product = add_products(catalog, collection, "a")["a"]
    for _ in range(2):
        catalog.products.take_places(collection.generation, {"a": [7, 8]})
    assert image_count(catalog, product) == 2
    released = at_once(
        6, lambda _: catalog.products.release_places(collection.generation, "a", [7, 9])
    )
    assert sorted(released) == [0, 0, 0, 0, 0, 1]
    assert image_count(catalog, product) == 1


def test_taking_places_gives_the_products_as_they_are_then(
    catalog: Catalog, collection: CollectionRow
) -> None:
    add_products(catalog, collection, "a", "b")
    found = catalog.products.take_places(collection.generation, {"a": [4, 2], "b": [], "none": [1]})
    assert {i: product.places for i, product in found.items()} == {"a": (4, 2), "b": ()}


def test_a_flagged_product_is_not_found_and_still_keeps_its_id(
    catalog: Catalog, collection: CollectionRow
) -> None:
    product = add_products(catalog, collection, "p")["p"]
    catalog.products.begin_deletion([product])
    assert catalog.products.find(collection.generation, ["p"]) == {}
    assert catalog.products.being_deleted(collection.generation, ["p", "q"]) == [product]
    assert catalog.products.insert(
        collection, [ProductFields(product_id="p", product_name="n", category="其他")]
    ) == {0: ExistingProduct}


def test_a_deletion_that_begins_twice_keeps_its_first_time(
    catalog: Catalog, collection: CollectionRow
) -> None:
    product = add_products(catalog, collection, "p")["p"]
    catalog.products.begin_deletion([product])
    while (between := now()) <= now() - timedelta(milliseconds=3):
        pass
    at_once(4, lambda _: catalog.products.begin_deletion([product]))
    begun = catalog.products.unfinished_deletions(between + timedelta(milliseconds=5), 10)
    assert begun == [product]


def test_exactly_one_of_many_deleters_ends_the_deletion(
    catalog: Catalog, collection: CollectionRow
) -> None:
    product = add_products(catalog, collection, "p")["p"]
    catalog.products.begin_deletion([product])
    ended = at_once(12, lambda _: catalog.products.end_deletion(product))
    assert [row for row in ended if row is not None] == [product]
    assert catalog.products.being_deleted(collection.generation, ["p"]) == []
    assert catalog.products.end_deletion(product) is None


def test_many_deleters_of_a_product_count_it_off_its_collection_once(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    catalog.collections.add_products(collection.key, collection.generation, 2)
    labels = add_images(catalog, products["p"], "a", "b", "c")

    def delete(_: int) -> None:
        catalog.products.begin_deletion([products["p"]])
        delete_product(catalog, products["p"])

    at_once(8, delete)
    assert product_count(catalog, collection) == 1
    images = catalog.images.find(labels)
    assert all(image.deleted_at is not None for image in images.values())
    assert catalog.products.find(collection.generation, ["p", "q"]).keys() == {"q"}


def test_deleting_a_product_deletes_its_images_alone_and_frees_their_names(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    labels = add_images(catalog, products["p"], "a", "b")
    other = add_images(catalog, products["q"], "c")
    catalog.products.begin_deletion([products["p"]])
    assert delete_product(catalog, products["p"]) == labels
    assert catalog.images.find(other)[other[0]].deleted_at is None
    generation = collection.generation
    keys = [name_key(generation, image_id) for image_id in "abc"]
    assert catalog.names.holders(keys) == {name_key(generation, "c"): other[0]}
    assert image_count(catalog, products["q"]) == 1


def test_an_image_that_failed_before_does_not_hide_the_name_of_the_one_after_it(
    catalog: Catalog, collection: CollectionRow
) -> None:
    product = add_products(catalog, collection, "p")["p"]
    early, late = catalog.numbers.reserve(2)
    key = name_key(collection.generation, "a")
    # Who got the larger label may take the name first.
    catalog.names.take({key: late})
    write_images(catalog, product, {"a": late})
    fail_images(catalog, {late: InsertImageError()}, "vision")
    assert catalog.names.take({key: early}) == set()
    write_images(catalog, product, {"a": early})
    catalog.products.begin_deletion([product])
    delete_product(catalog, product)
    assert catalog.names.holders([key]) == {}


def test_an_interrupted_deletion_is_found_and_ended(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p", "q")
    catalog.collections.add_products(collection.key, collection.generation, 2)
    labels = add_images(catalog, products["p"], "a")
    catalog.products.begin_deletion([products["p"]])
    assert catalog.products.unfinished_deletions(now() - MINUTE, 10) == []
    unfinished = catalog.products.unfinished_deletions(now() + MINUTE, 10)
    assert [product.product_id for product in unfinished] == ["p"]
    assert delete_product(catalog, unfinished[0]) == labels
    assert catalog.products.unfinished_deletions(now() + MINUTE, 10) == []
    assert product_count(catalog, collection) == 1


def test_a_deletion_that_died_after_flagging_the_images_still_frees_what_they_hold(
    catalog: Catalog, collection: CollectionRow
) -> None:
    product = add_products(catalog, collection, "p")["p"]
    labels = add_images(catalog, product, "a")
    catalog.payloads.put({labels[0]: b"picture"})
    catalog.products.begin_deletion([product])
    catalog.images.delete(labels)
    (unfinished,) = catalog.products.unfinished_deletions(now() + MINUTE, 10)
    delete_product(catalog, unfinished)
    assert catalog.names.holders([name_key(collection.generation, "a")]) == {}
    assert catalog.payloads.get(labels) == {}


def test_a_product_that_is_created_again_takes_nothing_over(
    catalog: Catalog, collection: CollectionRow
) -> None:
    first = add_products(catalog, collection, "p")["p"]
    add_images(catalog, first, "a", "b")
    second = recreate(catalog, collection, first)
    assert second.serial != first.serial
    assert second.image_count == 0
    assert catalog.images.of_product(second.serial) == []
    assert catalog.products.being_deleted(collection.generation, ["p"]) == []


def classes(faults: Mapping[int, ContractError]) -> dict[int, type[ContractError]]:
    return {label: type(fault) for label, fault in faults.items()}


def test_an_image_that_comes_late_for_the_first_product_is_failed_for_the_second(
    catalog: Catalog, collection: CollectionRow
) -> None:
    first = add_products(catalog, collection, "p")["p"]
    second = recreate(catalog, collection, first)
    items = [
        Item(label=1, product_id="p", product_serial=first.serial, image_id="late"),
        Item(label=2, product_id="p", product_serial=second.serial, image_id="new"),
    ]
    faults = vanished(catalog, collection.key, collection.generation, items)
    assert classes(faults) == {1: NotExistingProduct}


def test_the_deleter_of_the_first_product_leaves_the_second_alone(
    catalog: Catalog, collection: CollectionRow
) -> None:
    first = add_products(catalog, collection, "p")["p"]
    second = recreate(catalog, collection, first)
    add_images(catalog, second, "new")
    catalog.products.begin_deletion([first])
    delete_product(catalog, first)
    assert catalog.products.find(collection.generation, ["p"])["p"].serial == second.serial
    assert image_count(catalog, second) == 1


def test_images_of_a_collection_of_another_generation_have_vanished(
    catalog: Catalog, collection: CollectionRow
) -> None:
    product = add_products(catalog, collection, "p")["p"]
    items = [Item(label=1, product_id="p", product_serial=product.serial, image_id="a")]
    assert vanished(catalog, collection.key, collection.generation, items) == {}
    assert classes(vanished(catalog, collection.key, "0", items)) == {1: NoRelativeCollection}
    gone = vanished(catalog, "1001/none", collection.generation, items)
    assert classes(gone) == {1: NoRelativeCollection}


def test_a_submission_for_the_first_product_leaves_the_count_of_the_second_right(
    catalog: Catalog, collection: CollectionRow
) -> None:
    products = add_products(catalog, collection, "p")
    second = recreate(catalog, collection, products["p"])
    submit(catalog, collection, products, [url("p", "a"), url("p", "b")], images_per_product=5)
    assert image_count(catalog, second) == 0
