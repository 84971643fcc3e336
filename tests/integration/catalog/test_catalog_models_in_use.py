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


def test_collections_go_on_with_another_model_of_the_same_networks_and_new_ones_get_the_chosen(
    catalog: Catalog,
) -> None:
    catalog.models.adopt(OLD)
    old = catalog.collections.find_or_create("user", "shop", 0)
    parted, more = ModelRow("old-w1", 8, parts=2), ModelRow("old-w2", 8, parts=3)
    with pytest.raises(ModelMismatchError, match="made with model old, the settings choose old-w1"):
        catalog.models.adopt(parted)
    catalog.models.adopt(parted, served={"old": parted, "old-w2": parted})
    assert (catalog.models.current(), catalog.models.first()) == (parted, OLD)
    assert catalog.models.known() == {"old": OLD, "old-w1": parted}
    assert catalog.collections.find_or_create("user", "another", 0).model_id == "old-w1"
    assert catalog.collections.find_or_create("user", "shop", 0) == old
    catalog.models.adopt(more, served={"old": more, "old-w1": more})
    assert catalog.models.current() == more
    assert catalog.models.in_use() == {"old", "old-w1", "old-w2"}


def test_a_model_of_new_collections_that_the_operator_chose_stays_beside_its_own_networks(
    catalog: Catalog,
) -> None:
    catalog.models.adopt(OLD, NEW, served={"old-w1": OLD, "new-w1": NEW})
    catalog.models.begin_with(NEW)
    catalog.models.adopt(OLD, NEW, served={"old-w1": OLD, "new-w1": NEW})
    assert catalog.models.current() == NEW
    parted = ModelRow("new-w1", 16, parts=2)
    catalog.models.adopt(OLD, parted, served={"old-w1": OLD, "new": parted})
    assert catalog.models.current() == parted
