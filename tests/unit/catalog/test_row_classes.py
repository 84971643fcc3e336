"""The classes of rows: frozen, and made by the names of their fields."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import getmembers, isclass
from pkgutil import iter_modules

import pytest

import catalog.rows

ROWS: set[type] = {
    one
    for module in iter_modules(catalog.rows.__path__)
    for _, one in getmembers(import_module(f"catalog.rows.{module.name}"), isclass)
    if hasattr(one, "from_row")
}


def test_there_are_rows() -> None:
    assert {"ImageRow", "ProductRow", "TaskRow"} <= {one.__name__ for one in ROWS}


@pytest.mark.parametrize("row", sorted(ROWS, key=str))
def test_a_row_is_frozen_and_takes_no_more_than_two_fields_by_their_position(row: type) -> None:
    assert is_dataclass(row)
    assert row.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert len([field for field in fields(row) if not field.kw_only]) <= 2
