"""Features of two models under one label."""

from __future__ import annotations

import numpy as np

from catalog.database.connection import databases
from catalog.store import Catalog
from config.settings import settings

ONES = np.ones(4, np.float32)


def test_an_image_has_a_feature_of_each_of_two_models(catalog: Catalog) -> None:
    catalog.vectors.put("a", {1: ONES, 2: ONES})
    catalog.vectors.put("b", {1: ONES * 2, 3: np.ones(6, np.float32)})
    catalog.vectors.put("b", {1: ONES * 3})
    assert catalog.vectors.models([1, 2, 3, 4]) == {1: {"a", "b"}, 2: {"a"}, 3: {"b"}}
    assert catalog.vectors.present([1, 2, 3], ["a", "b"]) == {1}
    assert catalog.vectors.get([1, 2], "b")[1].tolist() == [[2, 2, 2, 2]]
    assert catalog.vectors.get([2], "b") == {}
    assert catalog.vectors.models([1, 2, 3]) == {1: {"a", "b"}, 2: {"a"}, 3: {"b"}}
    catalog.vectors.remove([1])
    assert catalog.vectors.models([1, 2, 3]) == {2: {"a"}, 3: {"b"}}


def test_what_leaves_makes_room_for_a_third(catalog: Catalog) -> None:
    catalog.vectors.put("a", {1: ONES, 2: ONES})
    catalog.vectors.put("b", {1: ONES, 2: ONES})
    catalog.vectors.put("c", {1: ONES})
    assert catalog.vectors.models([1]) == {1: {"a", "b"}}
    catalog.vectors.keep_only([1], {"b"})
    assert catalog.vectors.models([1, 2]) == {1: {"b"}, 2: {"a", "b"}}
    catalog.vectors.put("c", {1: ONES})
    assert catalog.vectors.models([1]) == {1: {"b", "c"}}
    catalog.vectors.keep_only([1, 2], {"c", "a"})
    assert catalog.vectors.models([1, 2]) == {1: {"c"}, 2: {"a"}}


def test_an_image_has_all_its_vectors_in_one_row_and_keeps_them(catalog: Catalog) -> None:
    parts = np.arange(12, dtype=np.float32).reshape(3, 4)
    catalog.vectors.put("a", {1: parts, 2: parts[:1]})
    catalog.vectors.put("a", {1: parts[:2]})
    catalog.vectors.put("b", {1: parts[1:]})
    found = catalog.vectors.of_models([1, 2])
    assert found[1]["a"].tolist() == parts.tolist()
    assert found[1]["b"].tolist() == parts[1:].tolist()
    assert found[2]["a"].tolist() == parts[:1].tolist()
    assert catalog.vectors.models([1, 2]) == {1: {"a", "b"}, 2: {"a"}}
    catalog.vectors.keep_only([1], {"b"})
    assert catalog.vectors.of_models([1])[1].keys() == {"b"}


def test_a_row_that_was_cut_off_is_seen_by_its_numbers(catalog: Catalog) -> None:
    rows = databases(catalog.client, settings().mongo_database)[1]["vectors"]
    catalog.vectors.put("a", {1: np.ones((3, 4), np.float32)})
    for numbers, shape in ((11, (1, 11)), (9, (3, 3)), (4, (1, 4)), (0, (3, 0))):
        rows.update_one({"_id": 1}, {"$set": {"values": bytes(4 * numbers)}})
        assert catalog.vectors.get([1], "a")[1].shape == shape
