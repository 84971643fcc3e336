"""A field of a product is asked, stored, listed and found under one name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from app.http.fields import judge
from app.operations.product_fields import (
    CHANGE,
    EXAMPLE,
    FIELD_FAULTS,
    FoundProduct,
    NewProductItem,
    ShownProduct,
    UpdateProductRequest,
)
from catalog.rows.products import FOUND_FIELDS, ProductFields
from config.settings import Settings

STORED = [one.name for one in fields(ProductFields)]


def test_what_is_stored_is_what_is_asked_and_listed_in_this_order() -> None:
    assert list(NewProductItem.model_fields) == STORED
    assert list(ShownProduct.model_fields) == STORED
    assert list(EXAMPLE) == STORED


def test_every_field_but_the_id_may_be_changed() -> None:
    assert list(UpdateProductRequest.model_fields) == ["collection_name", *STORED]
    assert list(CHANGE) == STORED[1:]


def test_a_search_finds_what_its_answer_declares() -> None:
    assert list(FoundProduct.model_fields) == list(FOUND_FIELDS)
    assert set(FOUND_FIELDS) <= set(STORED)


@pytest.mark.parametrize("wrong", [None, 7])
def test_the_faults_of_the_fields_are_declared_in_the_order_of_the_fields(wrong: Any) -> None:
    sent = dict.fromkeys(STORED, wrong)
    faults = judge(NewProductItem, sent, Settings())[1]
    assert [type(fault) for fault in faults] == list(FIELD_FAULTS)
