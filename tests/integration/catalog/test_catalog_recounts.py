"""The counters of a collection come right, whether its changes end or go on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.database import Database

from catalog.rows.collections import CollectionRow
from catalog.rows.products import ProductRow
from catalog.store import Catalog
from tests.integration.catalog.rows import add_products, image_count, recount

SetClock = Callable[[float], None]

#: As long as a collection that changes may go on with wrong counters, in the default settings.
BOUND_SECONDS = 8 * 60

#: Half as often as beat has them, for a test's sake.
SWEEP_SECONDS = 10


@pytest.fixture
def product(catalog: Catalog, collection: CollectionRow) -> ProductRow:
    """A product that its collection counts."""
    catalog.collections.add_products(collection.key, collection.generation, 1)
    return add_products(catalog, collection, "p")["p"]


def counters(catalog: Catalog, collection: CollectionRow) -> tuple[int, int]:
    found = catalog.collections.find(collection.user, collection.name)
    assert found is not None
    return found.product_count, found.image_count


def add_image(catalog: Catalog, product: ProductRow, label: int) -> None:
    catalog.collections.add_images(product.collection, product.generation, 1)
    catalog.products.take_places(product.generation, {product.product_id: [label]})


def leave_wrong(catalog: Catalog, collection: CollectionRow) -> None:
    """Do what processes do that count, and die before they write."""
    catalog.collections.add_products(collection.key, collection.generation, 2)
    catalog.collections.add_images(collection.key, collection.generation, 7)


@pytest.mark.parametrize("pause", [10, 60])
def test_a_collection_that_goes_on_changing_is_recounted_all_the_same(
    catalog: Catalog,
    collection: CollectionRow,
    product: ProductRow,
    set_clock: SetClock,
    pause: int,
) -> None:
    leave_wrong(catalog, collection)
    for second in range(0, BOUND_SECONDS, SWEEP_SECONDS):
        set_clock(second)
        if second % pause == 0:
            add_image(catalog, product, second + 1)
        recount(catalog)
    assert counters(catalog, collection) == (1, image_count(catalog, product))


def test_a_collection_that_changes_during_every_count_is_recounted_all_the_same(
    catalog: Catalog,
    collection: CollectionRow,
    product: ProductRow,
    set_clock: SetClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = catalog.products.count
    labels = iter(range(1, 1000))

    def count_between_two_changes(generation: str) -> tuple[int, int]:
        add_image(catalog, product, next(labels))
        found = count(generation)
        add_image(catalog, product, next(labels))
        return found

    monkeypatch.setattr(catalog.products, "count", count_between_two_changes)
    leave_wrong(catalog, collection)
    for second in range(0, BOUND_SECONDS, SWEEP_SECONDS):
        set_clock(second)
        add_image(catalog, product, next(labels))
        recount(catalog)
    assert counters(catalog, collection)[0] == 1
    # The image that comes between a count and the look after it is not in the count.
    assert 0 <= image_count(catalog, product) - counters(catalog, collection)[1] <= 1


def test_what_is_under_way_is_not_taken_for_wrong_where_changes_go_on(
    catalog: Catalog,
    collection: CollectionRow,
    product: ProductRow,
    set_clock: SetClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[str] = []
    count = catalog.products.count

    def noted(generation: str) -> tuple[int, int]:
        counted.append(generation)
        return count(generation)

    monkeypatch.setattr(catalog.products, "count", noted)
    # Products that are counted and not written yet, at each look.
    under_way = itertools.cycle([3, 1, 0, 2, 0])
    for second in range(0, 13 * 60, SWEEP_SECONDS):
        set_clock(second)
        new = next(under_way)
        catalog.collections.add_products(collection.key, collection.generation, new)
        recount(catalog)
        catalog.collections.add_products(collection.key, collection.generation, -new)
        assert counters(catalog, collection) == (1, 0)
    # Some in each five minutes, and none in every sweep.
    assert 2 <= len(counted) <= 9


def test_a_recount_that_was_asked_for_during_a_count_is_not_forgotten(
    catalog: Catalog,
    collection: CollectionRow,
    product: ProductRow,
    set_clock: SetClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_image(catalog, product, 1)
    count = catalog.products.count

    def count_and_lose_a_slot(generation: str) -> tuple[int, int]:
        found = count(generation)
        # A process that dies between a place and its count.
        catalog.collections.ask_recount(collection.key, generation)
        catalog.products.release_places(generation, product.product_id, [1])
        return found

    set_clock(100)
    with monkeypatch.context() as patch:
        patch.setattr(catalog.products, "count", count_and_lose_a_slot)
        recount(catalog)
    set_clock(200)
    recount(catalog)
    assert counters(catalog, collection) == (1, 0)


def test_once_nothing_changes_any_more_a_collection_is_counted_once(
    catalog: Catalog,
    collection: CollectionRow,
    product: ProductRow,
    set_clock: SetClock,
    rows: Database[dict[str, Any]],
) -> None:
    leave_wrong(catalog, collection)
    found = []
    for second in range(0, 120, SWEEP_SECONDS):
        set_clock(second)
        found += [(second, wrong.products, wrong.images) for wrong in recount(catalog)]
    assert found == [(60, 1, 0)]
    assert rows["collections"].find_one({"recount_at": {"$gt": 0}}) is None


def test_a_change_of_a_clock_that_was_set_back_since_keeps_no_collection_from_its_recount(
    catalog: Catalog,
    collection: CollectionRow,
    product: ProductRow,
    set_clock: SetClock,
    rows: Database[dict[str, Any]],
) -> None:
    set_clock(100_000)
    leave_wrong(catalog, collection)
    set_clock(0)
    # What the look at the clock does to times that are too far ahead.
    rows["collections"].update_many({}, {"$set": {"recount_at": 1}})
    assert [(wrong.products, wrong.images) for wrong in recount(catalog)] == [(1, 0)]
