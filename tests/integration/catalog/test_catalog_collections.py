"""Collections: found or created once, and never more than a user may have."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo.database import Database

from catalog.database.connection import now
from catalog.flows.removal import delete_collection, purge_piece
from catalog.rows.collections import CollectionRow
from catalog.rows.products import ProductFields
from catalog.store import Catalog
from contract.errors import CollectionCountExceedsLimit
from tests.integration.catalog.at_once import at_once


def create(catalog: Catalog, user: str, name: str, limit: int) -> CollectionRow | None:
    try:
        return catalog.collections.find_or_create(user, name, limit)
    except CollectionCountExceedsLimit:
        return None


def counted(rows: Database[dict[str, Any]], user: str) -> int:
    row = rows["users"].find_one({"_id": user})
    assert row is not None
    return len(row["collections"])


def test_the_limit_holds_when_many_collections_are_created_at_once(
    catalog: Catalog, rows: Database[dict[str, Any]]
) -> None:
    found = at_once(20, lambda number: create(catalog, "u", f"c{number}", 7))
    created = [row for row in found if row is not None]
    assert len(created) == rows["collections"].count_documents({}) == counted(rows, "u") == 7


def test_what_was_refused_is_given_back_so_that_room_can_be_used_again(
    catalog: Catalog, rows: Database[dict[str, Any]]
) -> None:
    catalog.collections.find_or_create("u", "a", 2)
    catalog.collections.find_or_create("u", "b", 2)
    for name in "cdef":
        assert create(catalog, "u", name, 2) is None
    assert counted(rows, "u") == 2
    assert create(catalog, "u", "c", 3) is not None


def test_a_full_user_still_finds_what_is_there(catalog: Catalog) -> None:
    created = catalog.collections.find_or_create("u", "a", 1)
    assert catalog.collections.find_or_create("u", "a", 1) == created


@pytest.mark.parametrize("user", ["1001", "5f43a1b2c3d4e5f6a7b8c9d0", "u.s$er '\""])
def test_users_are_counted_apart_whatever_they_are_called(
    catalog: Catalog, rows: Database[dict[str, Any]], user: str
) -> None:
    assert create(catalog, user, "a", 1) is not None
    assert create(catalog, "other", "a", 1) is not None
    assert create(catalog, user, "b", 1) is None
    assert counted(rows, user) == counted(rows, "other") == 1


def test_no_limit_is_no_limit(catalog: Catalog) -> None:
    assert None not in [create(catalog, "u", f"c{number}", 0) for number in range(12)]


def test_many_that_create_the_same_name_get_the_same_collection(
    catalog: Catalog, rows: Database[dict[str, Any]]
) -> None:
    found = at_once(20, lambda _: catalog.collections.find_or_create("u", "小店", 0))
    assert len(set(found)) == 1
    assert found[0] == catalog.collections.find("u", "小店")
    assert rows["collections"].count_documents({}) == counted(rows, "u") == 1


def test_who_looked_before_another_created_the_same_name_gets_that_collection(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = catalog.collections.find
    created: list[CollectionRow] = []

    def created_just_after(user: str, name: str) -> CollectionRow | None:
        if created:
            return find(user, name)
        created.append(CollectionRow(user=user, name=name, generation="", created_at=now()))
        created[0] = catalog.collections.find_or_create(user, name, 1)
        return None

    monkeypatch.setattr(catalog.collections, "find", created_just_after)
    assert create(catalog, "u", "小店", 1) == created[0]


def test_the_last_free_place_serves_all_who_create_the_same_name_at_once(
    catalog: Catalog, rows: Database[dict[str, Any]]
) -> None:
    found = at_once(20, lambda _: create(catalog, "u", "小店", 1))
    assert counted(rows, "u") == 1
    assert len({row for row in found if row is not None}) == 1
    assert None not in found


def test_a_collection_that_is_created_again_has_another_generation(
    catalog: Catalog, rows: Database[dict[str, Any]]
) -> None:
    first = catalog.collections.find_or_create("u", "a", 0)
    rows["collections"].delete_one({"_id": first.key})
    assert catalog.collections.find("u", "a") is None
    assert not catalog.collections.is_alive(first.key, first.generation)
    second = catalog.collections.find_or_create("u", "a", 0)
    assert second.generation != first.generation
    assert catalog.collections.is_alive(second.key, second.generation)
    assert not catalog.collections.is_alive(first.key, first.generation)


@pytest.mark.parametrize("moment", ["before its name is noted", "before the end"])
def test_a_collection_that_is_deleted_while_it_is_made_leaves_neither_products_nor_its_slot(
    catalog: Catalog, rows: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def delete() -> None:
        made = catalog.collections.find("u", "c")
        if made is not None:
            delete_collection(catalog, made)

    interrupt(monkeypatch, catalog, moment, delete)
    made = catalog.collections.find_or_create("u", "c", 1)
    assert catalog.collections.find("u", "c") is None
    catalog.products.insert(
        made, [ProductFields(product_id="p", product_name="P", category="其他")]
    )
    (purge,) = catalog.purges.due(10)
    assert purge.generation == made.generation
    while purge_piece(catalog, purge, 10):
        pass
    assert rows["products"].find_one() is None
    assert create(catalog, "u", "another", 1) is not None


@pytest.mark.parametrize("moment", ["before its name is noted", "before the end"])
def test_a_deletion_between_its_two_writes_is_seen_by_the_creation(
    catalog: Catalog, rows: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def begin_deletion() -> None:
        row = rows["collections"].find_one()
        assert row is not None
        catalog.purges.begin(row["generation"], row["_id"])

    interrupt(monkeypatch, catalog, moment, begin_deletion)
    made = catalog.collections.find_or_create("u", "c", 1)
    assert catalog.collections.find("u", "c") == made, "the deletion may have been cut off"
    delete_collection(catalog, made)
    assert [purge.generation for purge in catalog.purges.due(10)] == [made.generation]
    assert create(catalog, "u", "another", 1) is not None


def test_a_creation_that_was_taken_for_cut_off_leaves_nothing(
    catalog: Catalog, rows: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_for_cut_off() -> None:
        made = catalog.collections.find("u", "c")
        assert made is not None
        catalog.products.insert(
            made, [ProductFields(product_id="p", product_name="P", category="其他")]
        )
        assert catalog.purges.end(made.generation)

    interrupt(monkeypatch, catalog, "before the end", take_for_cut_off)
    with pytest.raises(RuntimeError):
        catalog.collections.find_or_create("u", "c", 1)
    (purge,) = catalog.purges.due(10)
    while purge_piece(catalog, purge, 10):
        pass
    assert rows["products"].find_one() is None
    assert create(catalog, "u", "another", 1) is not None


def interrupt(
    patch: pytest.MonkeyPatch, catalog: Catalog, moment: str, once: Callable[[], None]
) -> None:
    """Let something happen once while a collection is made."""
    left = [once]

    def first(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if left:
                left.pop()()
            return original(*arguments)

        return call

    if moment == "before the end":
        patch.setattr(catalog.purges, "fulfil", first(catalog.purges.fulfil))
    else:
        users = SimpleNamespace(
            insert_many=catalog.collections._users.insert_many,
            find_one_and_update=catalog.collections._users.find_one_and_update,
            update_one=first(catalog.collections._users.update_one),
        )
        patch.setattr(catalog.collections, "_users", users)


def test_products_are_counted_by_those_who_come_at_once(catalog: Catalog) -> None:
    row = catalog.collections.find_or_create("u", "a", 0)
    seen = at_once(16, lambda _: catalog.collections.add_products(row.key, row.generation, 3))
    assert sorted(seen) == list(range(3, 51, 3))
    assert catalog.collections.add_products(row.key, row.generation, -48) == 0


def test_a_collection_of_another_generation_counts_nothing(
    catalog: Catalog, rows: Database[dict[str, Any]]
) -> None:
    row = catalog.collections.find_or_create("u", "a", 0)
    assert catalog.collections.add_products(row.key, "0", 5) == 0
    assert catalog.collections.add_products("u/other", row.generation, 5) == 0
    assert catalog.collections.add_products(row.key, row.generation, 1) == 1
