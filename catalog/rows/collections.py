"""The collections of the users, and how many products and images each holds.

A collection's row is found by "user/name". Its generation is part of every key
below it, so that a deleted and re-created collection never meets its old rows.

The counters are right at once, unless a process dies between a change and its count; so
they are recounted, see `counters`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from catalog.database.connection import Row, Rows, find_by_id, insert_new, moment, now, stamp
from catalog.database.pages import Page, cut
from catalog.rows.counters import change_of_counters
from catalog.rows.purges import Purges
from contract.errors import CollectionCountExceedsLimit

#: Collections that a user may have where the limit is 0. The names of all stand in one row, 200
#: bytes each at most: 2 MB, and 0.07 s for each that comes. `collections_per_user` says it too.
MOST_COLLECTIONS = 10_000


@dataclass(frozen=True, kw_only=True)
class CollectionRow:
    """A collection as its row says: whose, its name, its generation."""

    user: str
    name: str
    generation: str
    created_at: datetime
    product_count: int = 0
    image_count: int = 0
    model_id: str | None = None  #: whose vectors its searches use; None before there is a model
    next_model: str | None = None  #: whose vectors are being made besides, until it takes over

    @property
    def models(self) -> tuple[str, ...]:
        """The models of which every new image gets a vector, that of the searches first."""
        return tuple(model for model in (self.model_id, self.next_model) if model is not None)

    @property
    def key(self) -> str:
        """The `_id` of the row; neither a user nor a name has a "/" in it."""
        return collection_key(self.user, self.name)

    @classmethod
    def from_row(cls, row: Row) -> CollectionRow:
        """Return the collection of a row."""
        return cls(
            user=row["user"],
            name=row["name"],
            generation=row["generation"],
            created_at=moment(row["created_at"]),
            product_count=row["product_count"],
            image_count=row["image_count"],
            model_id=row.get("model_id"),
            next_model=next_model(row),
        )


def next_model(row: Row) -> str | None:
    """Return the model that the row of a collection says will take over."""
    change = row.get("change")
    return change["target"] if change and change["state"] in ("running", "waiting") else None


def collection_key(user: str, name: str) -> str:
    """Return the `_id` of a collection's row."""
    return f"{user}/{name}"


class Collections:
    """The rows of collections, and a row per user that counts them."""

    def __init__(
        self, rows: Rows, users: Rows, models: Rows, purges: Purges, recount: timedelta
    ) -> None:
        """Note with each change that the counters are to be recounted `recount` after it."""
        self._rows = rows
        self._users = users
        self._models = models
        self._purges = purges
        self._recount = recount

    def find(self, user: str, name: str) -> CollectionRow | None:
        """Return the collection of that name, or None."""
        row = self._rows.find_one({"_id": collection_key(user, name)})
        return None if row is None else CollectionRow.from_row(row)

    def of_generation(self, key: str, generation: str) -> CollectionRow | None:
        """Return the collection of a key, None where it is gone or another by now."""
        row = self._rows.find_one({"_id": key})
        return (
            None if row is None or row["generation"] != generation else CollectionRow.from_row(row)
        )

    def all(self) -> list[CollectionRow]:
        """Return the collections of all users."""
        return [CollectionRow.from_row(row) for row in self._rows.find({})]

    def is_alive(self, key: str, generation: str) -> bool:
        """Return whether the collection still is the one of that generation."""
        row = self._rows.find_one({"_id": key})
        return row is not None and row["generation"] == generation

    def find_or_create(self, user: str, name: str, limit: int) -> CollectionRow:
        """Return the collection of that name, created if it isn't there.

        `limit` is how many a user may have, 0 for MOST_COLLECTIONS. Raises
        CollectionCountExceedsLimit; two calls at once never exceed it.
        """
        found = self.find(user, name)
        if found is not None:
            return found
        if not self._has_place(user, name, limit):
            raise CollectionCountExceedsLimit
        # Never the name of another generation, not even one of a database that was restored since.
        created = CollectionRow(
            user=user,
            name=name,
            generation=secrets.token_hex(8),
            created_at=now(),
            model_id=self._model_of_new_ones(),
        )
        # Should this process die before the row is there, the purge gives the place back.
        self._purges.expect(created.generation, created.key)
        try:
            self._rows.insert_one(
                {
                    "_id": created.key,
                    "user": user,
                    "name": name,
                    "generation": created.generation,
                    "product_count": 0,
                    "image_count": 0,
                    "changes": 0,
                    "model_id": created.model_id,
                    "change": None,
                    "created_at": stamp(created.created_at),
                }
            )
        except DuplicateKeyError:
            self._purges.end(created.generation)
            return self.find_or_create(user, name, limit)
        # Giving back a name is followed by a look for the row, and so is this.
        self._users.update_one({"_id": user}, {"$addToSet": {"collections": name}})
        if not self._purges.fulfil(created.generation):
            self._end_creation(created)
        # Whoever says which model new ones have gives it to those without one afterwards.
        model_id = self._model_of_new_ones()
        if model_id != created.model_id:
            self._rows.update_one(
                {"_id": created.key, "generation": created.generation, "change": None},
                {"$set": {"model_id": model_id}},
            )
        return replace(created, model_id=model_id)

    def _end_creation(self, created: CollectionRow) -> None:
        """End the creation of a collection that is being deleted, or was taken for cut off.

        What is written into a deleted one goes with its purge. Raises RuntimeError for one that
        was taken for cut off: its place was given back, and may be another's by now.
        """
        if not self.is_alive(created.key, created.generation):
            self.forget_name(created.key)
        elif self._purges.find(created.generation) is None:
            # Other calls may have found it and written into it.
            self._purges.begin(created.generation, created.key)
            self.remove(created.key, created.generation)
            self.forget_name(created.key)
            raise RuntimeError(f"{created.key} was taken for cut off while it was made")

    def _model_of_new_ones(self) -> str | None:
        row = self._models.find_one({"_id": "current"})
        return None if row is None else str(row["model_id"])

    def page(self, user: str, after: str, limit: int) -> Page[CollectionRow]:
        """Return at most `limit` collections of a user by name, those whose name follows `after`.

        Raises ValueError for a place of another list: those have a "/", and no name has.
        """
        if "/" in after:
            raise ValueError("not a place of this list")
        row = self._users.find_one({"_id": user})
        names = sorted(name for name in (row or {}).get("collections", ()) if name > after)
        shown, place = cut(names, limit, str)
        keys = [collection_key(user, name) for name in shown]
        found = find_by_id(self._rows, keys)
        return Page([CollectionRow.from_row(found[key]) for key in keys if key in found], place)

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
            {"$inc": {field: count, "changes": 1}, **change_of_counters(self._recount)},
            return_document=ReturnDocument.AFTER,
        )
        return 0 if row is None else int(row[field])

    def ask_recount(self, key: str, generation: str) -> None:
        """Have the counters of a collection recounted in a while."""
        self._rows.update_one(
            {"_id": key, "generation": generation},
            {"$inc": {"changes": 1}, **change_of_counters(self._recount)},
        )

    def remove(self, key: str, generation: str) -> None:
        """Remove a collection; its name is to be forgotten after it."""
        self._rows.delete_one({"_id": key, "generation": generation})

    def forget_name(self, key: str) -> None:
        """Give back the place among the user's collections of one that is not there."""
        user, _, name = key.partition("/")
        if self.find(user, name) is not None:
            return
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
        if row["collections"].index(name) < (limit or MOST_COLLECTIONS):
            return True
        self._users.update_one({"_id": user}, {"$pull": {"collections": name}})
        return False
