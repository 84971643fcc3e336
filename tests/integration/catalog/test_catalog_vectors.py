"""Features of two models under one label."""

from __future__ import annotations

import numpy as np

from catalog.store import Catalog

ONES = np.ones(4, np.float32)


def test_an_image_has_a_feature_of_each_of_two_models(catalog: Catalog) -> None:
    catalog.vectors.put("a", {1: ONES, 2: ONES})
    catalog.vectors.put("b", {1: ONES * 2, 3: np.ones(6, np.float32)})
    catalog.vectors.put("b", {1: ONES * 3})
    assert catalog.vectors.models([1, 2, 3, 4]) == {1: {"a", "b"}, 2: {"a"}, 3: {"b"}}
    assert catalog.vectors.present([1, 2, 3], ["a", "b"]) == {1}
    assert catalog.vectors.get([1, 2], "b")[1].tolist() == [2, 2, 2, 2]
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
