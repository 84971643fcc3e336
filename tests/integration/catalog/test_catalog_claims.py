"""Claims: a name, or a picture's bytes, has exactly one holder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pymongo.database import Database

from catalog.rows.claims import Claims, content_key, name_key
from catalog.store import Catalog
from tests.integration.catalog.at_once import at_once


def test_a_free_key_is_taken_and_held(catalog: Catalog) -> None:
    assert catalog.names.take({"1/a": 7, "1/b": 8}) == set()
    assert catalog.names.holders(["1/a", "1/b", "1/c"]) == {"1/a": 7, "1/b": 8}


def test_only_the_keys_that_somebody_else_holds_are_lost(catalog: Catalog) -> None:
    catalog.names.take({"1/a": 7, "1/c": 7})
    assert catalog.names.take({"1/a": 8, "1/b": 9, "1/c": 10}) == {"1/a", "1/c"}
    assert catalog.names.holders(["1/a", "1/b", "1/c"]) == {"1/a": 7, "1/b": 9, "1/c": 7}


def test_a_label_that_claims_a_second_time_keeps_what_it_has(catalog: Catalog) -> None:
    catalog.names.take({"1/a": 7})
    assert catalog.names.take({"1/a": 7, "1/b": 7}) == set()
    assert catalog.names.holders(["1/a", "1/b"]) == {"1/a": 7, "1/b": 7}


def test_taking_nothing_loses_nothing(catalog: Catalog) -> None:
    assert catalog.names.take({}) == set()


def test_of_many_labels_that_want_the_same_keys_at_once_each_key_has_one_holder(
    catalog: Catalog,
) -> None:
    keys = [f"1/{number}" for number in range(12)]
    lost = at_once(16, lambda label: catalog.names.take(dict.fromkeys(keys, label)))
    holders = catalog.names.holders(keys)
    assert holders.keys() == set(keys)
    for key in keys:
        assert [label for label in range(16) if key not in lost[label]] == [holders[key]]


def test_only_the_holder_releases_a_key(catalog: Catalog) -> None:
    catalog.names.take({"1/a": 7, "1/b": 7})
    catalog.names.release({"1/a": 8})
    assert catalog.names.holders(["1/a"]) == {"1/a": 7}
    catalog.names.release({"1/a": 7})
    assert catalog.names.holders(["1/a", "1/b"]) == {"1/b": 7}
    assert catalog.names.take({"1/a": 9}) == set()


def test_releasing_nothing_releases_nothing(catalog: Catalog) -> None:
    catalog.names.take({"1/a": 7})
    catalog.names.release({})
    catalog.names.release_all([])
    assert catalog.names.holders(["1/a"]) == {"1/a": 7}


def test_whatever_labels_hold_is_released_and_nothing_else(catalog: Catalog) -> None:
    catalog.contents.take({"1/x": 1, "1/y": 1, "1/z": 2, "2/x": 3})
    catalog.contents.release_all([1, 3, 4])
    assert catalog.contents.holders(["1/x", "1/y", "1/z", "2/x"]) == {"1/z": 2}


def test_claims_of_names_and_of_contents_do_not_meet(catalog: Catalog) -> None:
    catalog.names.take({"1/a": 7})
    assert catalog.contents.take({"1/a": 8}) == set()


@pytest.mark.parametrize(
    "image_id", ["a/b", "a.b", "$set", "5f43a1b2c3d4e5f6a7b8c9d0", "'\"; --", "商品 1", "12", "%_"]
)
def test_any_image_id_makes_a_key_of_its_own(catalog: Catalog, image_id: str) -> None:
    key = name_key("1f", image_id)
    assert catalog.names.take({key: 7}) == set()
    assert catalog.names.take({key: 8}) == {key}
    assert catalog.names.take({name_key("1f", image_id + "x"): 9, name_key("2f", image_id): 9}) == (
        set()
    )
    assert catalog.names.holders([key]) == {key: 7}


def test_the_same_bytes_in_two_products_are_two_keys() -> None:
    assert content_key(1, "ab") != content_key(2, "ab")
    assert content_key(1, "ab") != content_key(1, "ac")


def test_a_key_that_is_released_while_another_label_takes_it_is_never_held_by_nobody(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.names.take({"1/a": 7})
    holders = catalog.names.holders

    def released_just_before(keys: Sequence[str]) -> dict[str, int]:
        catalog.names.release({"1/a": 7})
        return holders(keys)

    monkeypatch.setattr(catalog.names, "holders", released_just_before)
    lost = catalog.names.take({"1/a": 8})
    monkeypatch.undo()
    held = catalog.names.holders(["1/a"])
    assert (lost, held) in [(set(), {"1/a": 8}), ({"1/a"}, {})]


def test_a_name_that_goes_from_hand_to_hand_has_one_holder_at_every_moment(
    catalog: Catalog,
) -> None:
    inside: list[int] = []
    most: list[int] = []

    def take_and_release(label: int) -> int:
        times = 0
        for _ in range(15):
            if not catalog.names.take({"1/a": label}):
                inside.append(label)
                most.append(len(inside))
                times += 1
                inside.remove(label)
                catalog.names.release({"1/a": label})
        return times

    assert sum(at_once(8, take_and_release)) > 0
    assert max(most) == 1


def test_labels_near_to_those_that_give_up_everything_keep_what_they_hold(
    catalog: Catalog,
) -> None:
    every = range(1000, 1100)
    catalog.contents.take({f"1/{label}": label for label in every})
    # Side by side, close together, and far apart.
    given_up = {1000, 1001, 1003, 1020, 1090}
    catalog.contents.release_all([*given_up, 1003, 5000])
    assert set(catalog.contents.holders([f"1/{label}" for label in every]).values()) == (
        set(every) - given_up
    )


def test_a_key_that_another_label_took_since_it_was_looked_for_is_not_released(
    catalog: Catalog, rows: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = catalog.contents
    contents.take({"1/x": 7, "1/y": 7})

    class TakenBetween:
        """The rows of claims, of which one changes hands after it was read."""

        def find(self, *asked: Any) -> list[dict[str, Any]]:
            found = list(rows["image_contents"].find(*asked))
            rows["image_contents"].delete_one({"_id": "1/x", "label": 7})
            assert Claims(rows["image_contents"]).take({"1/x": 8}) == set()
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(rows["image_contents"], name)

    with monkeypatch.context() as patch:
        patch.setattr(contents, "_rows", TakenBetween())
        contents.release_all([7])
    assert contents.holders(["1/x", "1/y"]) == {"1/x": 8}


def test_each_of_many_keys_is_released_from_the_label_that_it_comes_with(
    catalog: Catalog,
) -> None:
    many = {f"1/{number}": number for number in range(120)}
    catalog.names.take(many)
    catalog.names.release_each([("1/7", 1007), ("1/8", 1008), ("1/8", 8), *list(many.items())[10:]])
    assert catalog.names.holders(list(many)) == {
        key: label for key, label in many.items() if label < 10 and label != 8
    }
