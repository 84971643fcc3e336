"""Which models workers must have loaded, and which a new collection gets."""

from __future__ import annotations

from datetime import timedelta

import pytest

from catalog.rows.models import ModelMismatchError, ModelRow
from catalog.store import Catalog

OLD, NEW = ModelRow("old", 8), ModelRow("new", 16)


def test_workers_must_name_every_model_that_is_in_use(catalog: Catalog) -> None:
    catalog.models.adopt(OLD, NEW)
    collection = catalog.collections.find_or_create("user", "shop", 0)
    assert collection.model_id == "old"
    assert catalog.changes.begin(collection.key, "old", "new", accept_losses=False)
    with pytest.raises(ModelMismatchError, match="SNAPSKU_NEXT_DETECTOR"):
        catalog.models.adopt(OLD)
    catalog.models.begin_with(NEW)
    with pytest.raises(ModelMismatchError, match="made with model old, the settings choose new"):
        catalog.models.adopt(NEW)
    found = catalog.changes.find(collection.key)
    assert found is not None
    assert catalog.changes.switch(found, timedelta(0))
    catalog.models.adopt(NEW)
    assert catalog.collections.find_or_create("user", "another", 0).model_id == "new"


def test_a_collection_made_before_any_model_gets_the_first(catalog: Catalog) -> None:
    assert catalog.collections.find_or_create("user", "early", 0).model_id is None
    catalog.models.adopt(OLD)
    found = catalog.collections.find("user", "early")
    assert found is not None
    assert found.model_id == "old"
