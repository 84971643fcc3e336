"""update_product: whatever is cut off or comes at once, images end with what their product says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from pymongo.errors import AutoReconnect

from app.services import Services
from catalog.database.connection import now
from catalog.flows.product_copies import copy_product
from catalog.rows.images import ImageRow
from catalog.rows.products import ProductRow
from catalog.store import Catalog
from config.settings import settings
from tests.integration.app.api_in_process import Serve, result
from workers.maintenance import sweep


def product_of(catalog: Catalog) -> ProductRow:
    collection = catalog.collections.find("default", "c")
    assert collection is not None
    return catalog.products.find(collection.generation, ["p"])["p"]


def images_of(catalog: Catalog) -> list[ImageRow]:
    return catalog.images.of_product(product_of(catalog).serial)


def shown(row: ProductRow | ImageRow) -> tuple[str, str]:
    return row.product_name, row.category


def update(client: FlaskClient, **values: str) -> dict[str, Any]:
    return result(client, "update_product", collection_name="c", product_id="p", **values)


def copy_is_due(catalog: Catalog) -> None:
    rows = catalog.client[settings().mongo_database]["products"]
    rows.update_many({"copy_at": {"$gt": 0}}, {"$set": {"copy_at": 1}})


def not_copied(catalog: Catalog) -> list[ProductRow]:
    return catalog.products.to_be_copied(now() + timedelta(hours=1), 10)


@pytest.fixture
def client(serve: Serve) -> FlaskClient:
    """The API on a catalogue with two images of a product."""
    client = serve()
    product = {"product_id": "p", "product_name": "Old", "category": "鞋靴"}
    result(client, "create_product", collection_name="c", product_list=[product])
    images = [
        {"product_id": "p", "image_id": one, "image_content": "http://127.0.0.1:9/a.jpg"}
        for one in "ab"
    ]
    assert result(client, "add_image", collection_name="c", image_list=images)["code"] == 0
    return client


def test_a_change_reaches_the_images_before_it_is_answered(
    client: FlaskClient, catalog: Catalog
) -> None:
    assert update(client, product_name="New")["code"] == 0
    assert {shown(image) for image in images_of(catalog)} == {("New", "鞋靴")}
    assert {image.index_at for image in images_of(catalog)} == {None}, "none moves to another set"
    assert update(client, category="服装")["code"] == 0
    assert {shown(image) for image in images_of(catalog)} == {("New", "服装")}
    assert None not in {image.index_at for image in images_of(catalog)}
    assert not_copied(catalog) == []


@pytest.mark.parametrize("broken", ["of_product", "set_product"])
def test_a_change_that_is_cut_off_after_its_first_write_is_ended_by_the_sweep(
    client: FlaskClient,
    catalog: Catalog,
    made: list[Services],
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    def lost(*_: object) -> None:
        raise AutoReconnect("primary stepped down")

    with monkeypatch.context() as patch:
        patch.setattr(made[0].catalog.images, broken, lost)
        assert update(client, product_name="New", category="服装")["code"] == 0
    assert shown(product_of(catalog)) == ("New", "服装")
    sweep()
    assert {shown(image) for image in images_of(catalog)} == {("Old", "鞋靴")}, "not its time yet"
    copy_is_due(catalog)
    sweep()
    assert {shown(image) for image in images_of(catalog)} == {("New", "服装")}
    assert None not in {image.index_at for image in images_of(catalog)}, "the index is asked"
    assert not_copied(catalog) == []


def test_of_two_changes_at_once_the_images_have_what_the_product_has(
    client: FlaskClient,
    catalog: Catalog,
    made: list[Services],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = made[0].catalog.images.set_product
    inner = [1]

    def interleaved(*arguments: Any) -> None:
        if inner:
            inner.clear()
            update(client, product_name="Second", category="其他")
        original(*arguments)

    monkeypatch.setattr(made[0].catalog.images, "set_product", interleaved)
    update(client, product_name="First", category="服装")
    assert shown(product_of(catalog)) == ("Second", "其他")
    assert {shown(image) for image in images_of(catalog)} == {("Second", "其他")}


def test_a_copy_that_comes_late_overwrites_nothing_and_leaves_the_reminder_of_a_later_change(
    client: FlaskClient, catalog: Catalog
) -> None:
    first = catalog.products.change(product_of(catalog), {"category": "服装"})
    assert first is not None
    second = catalog.products.change(first, {"category": "其他"})
    assert second is not None
    assert copy_product(catalog, first) == [image.label for image in images_of(catalog)]
    assert {image.category for image in images_of(catalog)} == {"服装"}
    copy_is_due(catalog)
    sweep()
    assert {image.category for image in images_of(catalog)} == {"其他"}
    assert copy_product(catalog, first) == []
    assert {image.category for image in images_of(catalog)} == {"其他"}
