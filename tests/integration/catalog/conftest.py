"""A collection to work in, and the raw rows below the catalogue."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.database import Database

from catalog.database.connection import databases
from catalog.rows.collections import CollectionRow
from catalog.store import Catalog
from config.settings import settings


@pytest.fixture
def rows(catalog: Catalog) -> Database[dict[str, Any]]:
    """The database of the rows, for what no repository shows or makes."""
    return databases(catalog.client, settings().mongo_database)[0]


@pytest.fixture
def collection(catalog: Catalog) -> CollectionRow:
    return catalog.collections.find_or_create("1001", "小店", 0)
