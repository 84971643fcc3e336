"""The collections of the users, and how many products and images each holds.

A collection's row is found by "user/name". Its generation is part of every key
below it, so that a deleted and re-created collection never meets its old rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from catalog.connection import Row, Rows, find_by_id, insert_new, moment, now, stamp
from catalog.numbers import Numbers
from catalog.pages import Page, cut
from contract.errors import CollectionCountExceedsLimit


@dataclass(frozen=True)
class CollectionRow:
    """A collection as its row says: whose, its name, its generation."""

    user: str
    name: str
    generation: str
    created_at: datetime
    product_count: int = 0
    image_count: int = 0

    @property
    def key(self) -> str:
        """The `_id` of the row; neither a user nor a name has a "/" in it."""
        return collection_key(self.user, self.name)


def collection_key(user: str, name: str) -> str:
    """Give the `_id` of a collection's row."""
    return f"{user}/{name}"


def _of(row: Row) -> CollectionRow:
    return CollectionRow(
        row["user"],
        row["name"],
        row["generation"],
        moment(row["created_at"]),
        row["product_count"],
        row["image_count"],
    )


class Collections:
    """The rows of collections, and a row per user that counts them."""

    def __init__(self, rows: Rows, users: Rows, numbers: Numbers) -> None:
        self._rows = rows
        self._users = users
        self._numbers = numbers

    def find(self, user: str, name: str) -> CollectionRow | None:
        """Give the collection of that name, or None."""
        row = self._rows.find_one({"_id": collection_key(user, name)})
        return None if row is None else _of(row)

    def is_alive(self, key: str, generation: str) -> bool:
        """Tell whether the collection still is the one of that generation."""
        row = self._rows.find_one({"_id": key})
        return row is not None and row["generation"] == generation

    def find_or_create(self, user: str, name: str, limit: int) -> CollectionRow:
        """Give the collection of that name, created if it isn't there.

        `limit` is how many a user may have, 0 for any number. Raises
        CollectionCountExceedsLimit; two calls at once never exceed it.
        """
        found = self.find(user, name)
        if found is not None:
            return found
        if not self._has_place(user, name, limit):
            raise CollectionCountExceedsLimit
        created = CollectionRow(user, name, f"{self._numbers.reserve(1)[0]:x}", now())
        try:
            self._rows.insert_one(
                {
                    "_id": created.key,
                    "user": user,
                    "name": name,
                    "generation": created.generation,
                    "product_count": 0,
                    "image_count": 0,
                    "created_at": stamp(created.created_at),
                }
            )
        except DuplicateKeyError:
            again = self.find(user, name)
            if again is None:
                raise
            return again
        return created

    def page(self, user: str, after: str, limit: int) -> Page[CollectionRow]:
        """Give at most `limit` collections of a user by name, those whose name follows `after`.

        Raises ValueError for a place of another list: those have a "/", and no name has.
        """
        if "/" in after:
            raise ValueError("not a place of this list")
        row = self._users.find_one({"_id": user})
        names = sorted(name for name in (row or {}).get("collections", ()) if name > after)
        shown, place = cut(names, limit, str)
        keys = [collection_key(user, name) for name in shown]
        found = find_by_id(self._rows, keys)
        return Page([_of(found[key]) for key in keys if key in found], place)

    def add_products(self, key: str, generation: str, count: int) -> int:
        """Count `count` more products (fewer, if negative); give how many there are now.

        That is 0 where the collection is gone, or another by now.
        """
        return self._add(key, generation, "product_count", count)

    def add_images(self, key: str, generation: str, count: int) -> int:
        """Count images in the same way."""
        return self._add(key, generation, "image_count", count)

    def _add(self, key: str, generation: str, field: str, count: int) -> int:
        row = self._rows.find_one_and_update(
            {"_id": key, "generation": generation},
            {"$inc": {field: count}},
            return_document=ReturnDocument.AFTER,
        )
        return 0 if row is None else int(row[field])

    def remove(self, key: str, generation: str) -> None:
        """Remove a collection: from here on its generation is nobody's."""
        self._rows.delete_one({"_id": key, "generation": generation})
        user, _, name = key.partition("/")
        self._users.update_one({"_id": user}, {"$pull": {"collections": name}})
        if self.find(user, name) is not None:
            # Created again between the two writes.
            self._users.update_one({"_id": user}, {"$addToSet": {"collections": name}})

    def _has_place(self, user: str, name: str, limit: int) -> bool:
        """Note the name among the user's, in the order in which they came; the first have places.

        A name is noted once, whoever comes with it and however often.
        """
        # Not an upsert: the embedded server forgets what $addToSet adds to a row it makes.
        insert_new(self._users, [{"_id": user, "collections": []}])
        row = self._users.find_one_and_update(
            {"_id": user},
            {"$addToSet": {"collections": name}},
            return_document=ReturnDocument.AFTER,
        )
        assert row is not None  # it was made above  # noqa: S101
        if not limit or row["collections"].index(name) < limit:
            return True
        self._users.update_one({"_id": user}, {"$pull": {"collections": name}})
        return False
