"""The collections of the users, and how many products and images each holds.

The `_id` of a collection's row is "user/name". Its generation is part of every key below it, so
that a collection that is deleted and created again never sees its old rows.

The counters are exact, unless a process dies between a change and its count; so they are
recounted, see `counters`.
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

#: Collections that a user may have if the limit is 0. Their names are in one row, at most 200
#: bytes each: 2 MB, and 0.07 s for each new one. `collections_per_user` has the same bound.
MOST_COLLECTIONS = 10_000


@dataclass(frozen=True, kw_only=True)
class CollectionRow:
    """A collection as its row says."""

    user: str
    name: str
    generation: str
    created_at: datetime
    product_count: int = 0
    image_count: int = 0
    model_id: str | None = None  #: the model that searches use; None before any was loaded
    next_model: str | None = None  #: the target of a change that has not switched yet

    @property
    def models(self) -> tuple[str, ...]:
        """The models of which every new image gets a vector; the one of searches comes first."""
        return tuple(model for model in (self.model_id, self.next_model) if model is not None)

    @property
    def key(self) -> str:
        """The `_id` of the row; neither a user nor a name contains a "/"."""
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
    """Return the target of the change in a collection's row, None unless it runs or waits."""
    change = row.get("change")
    return change["target"] if change and change["state"] in ("running", "waiting") else None


def collection_key(user: str, name: str) -> str:
    """Return the `_id` of a collection's row."""
    return f"{user}/{name}"


class Collections:
    """The rows of collections, and a row for each user with the names of theirs."""

    def __init__(
        self, rows: Rows, users: Rows, models: Rows, purges: Purges, recount: timedelta
    ) -> None:
        """Take how long after a change of the counters they are recounted."""
        self._rows = rows
        self._users = users
        self._models = models
        self._purges = purges
        self._recount = recount

    def find(self, user: str, name: str) -> CollectionRow | None:
        """Return the collection of that name, None if there is none."""
        row = self._rows.find_one({"_id": collection_key(user, name)})
        return None if row is None else CollectionRow.from_row(row)

    def of_generation(self, key: str, generation: str) -> CollectionRow | None:
        """Return the collection with that key, None if it is gone or of another generation."""
        row = self._rows.find_one({"_id": key})
        return (
            None if row is None or row["generation"] != generation else CollectionRow.from_row(row)
        )

    def all(self) -> list[CollectionRow]:
        """Return the collections of all users."""
        return [CollectionRow.from_row(row) for row in self._rows.find({})]

    def is_alive(self, key: str, generation: str) -> bool:
        """Return whether the collection exists and has that generation."""
        row = self._rows.find_one({"_id": key})
        return row is not None and row["generation"] == generation

    def find_or_create(self, user: str, name: str, limit: int) -> CollectionRow:
        """Return the collection of that name; create it if there is none.

        `limit` is how many a user may have, 0 for MOST_COLLECTIONS; concurrent calls never
        exceed it. Raises CollectionCountExceedsLimit, and RuntimeError if the creation took so
        long that it was taken for cut off.
        """
        found = self.find(user, name)
        if found is not None:
            return found
        if not self._takes_slot(user, name, limit):
            raise CollectionCountExceedsLimit
        # Random, so that it is no generation of a database that was restored since, either.
        created = CollectionRow(
            user=user,
            name=name,
            generation=secrets.token_hex(8),
            created_at=now(),
            model_id=self._model_of_new_ones(),
        )
        # If this process dies before the row is written, the purge gives the slot back.
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
        # `forget_name` may have removed the name between the check of the slot and the insert.
        self._users.update_one({"_id": user}, {"$addToSet": {"collections": name}})
        if not self._purges.fulfil(created.generation):
            self._end_creation(created)
        # The default model may have changed since it was read: read it again, and correct the row.
        model_id = self._model_of_new_ones()
        if model_id != created.model_id:
            self._rows.update_one(
                {"_id": created.key, "generation": created.generation, "change": None},
                {"$set": {"model_id": model_id}},
            )
        return replace(created, model_id=model_id)

    def _end_creation(self, created: CollectionRow) -> None:
        """End the creation of a collection that is being deleted, or was taken for cut off.

        The purge removes what is written into a deleted one. Raises RuntimeError for one that
        was taken for cut off: its slot was given back, and another collection may have it.
        """
        if not self.is_alive(created.key, created.generation):
            self.forget_name(created.key)
        elif self._purges.find(created.generation) is None:
            # Other calls may have written into it, so it is purged.
            self._purges.begin(created.generation, created.key)
            self.remove(created.key, created.generation)
            self.forget_name(created.key)
            raise RuntimeError(f"the creation of {created.key} took too long and was undone")

    def _model_of_new_ones(self) -> str | None:
        row = self._models.find_one({"_id": "current"})
        return None if row is None else str(row["model_id"])

    def of_user(self, user: str) -> list[CollectionRow]:
        """Return all collections of a user, by name; [] if it has none."""
        row = self._users.find_one({"_id": user})
        keys = [collection_key(user, name) for name in sorted((row or {}).get("collections", ()))]
        return [CollectionRow.from_row(found) for found in find_by_id(self._rows, keys).values()]

    def page(self, user: str, after: str, limit: int) -> Page[CollectionRow]:
        """Return a page of at most `limit` collections of a user by name, from after `after`.

        A user without collections has an empty page. Raises ValueError for a cursor of another
        list: those contain a "/", and no name does.
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
        """Add `count`, which may be negative, to the products, and return how many there are.

        Return 0 if the collection is gone or of another generation.
        """
        return self._add(key, generation, "product_count", count)

    def add_images(self, key: str, generation: str, count: int) -> int:
        """Add `count`, which may be negative, to the images, and return how many there are.

        Return 0 if the collection is gone or of another generation.
        """
        return self._add(key, generation, "image_count", count)

    def _add(self, key: str, generation: str, field: str, count: int) -> int:
        row = self._rows.find_one_and_update(
            {"_id": key, "generation": generation},
            {"$inc": {field: count, "changes": 1}, **change_of_counters(self._recount)},
            return_document=ReturnDocument.AFTER,
        )
        return 0 if row is None else int(row[field])

    def ask_recount(self, key: str, generation: str) -> None:
        """Schedule a recount of a collection; do nothing if it is of another generation."""
        self._rows.update_one(
            {"_id": key, "generation": generation},
            {"$inc": {"changes": 1}, **change_of_counters(self._recount)},
        )

    def remove(self, key: str, generation: str) -> None:
        """Remove the row of a collection; call `forget_name` afterwards."""
        self._rows.delete_one({"_id": key, "generation": generation})

    def forget_name(self, key: str) -> None:
        """Remove the name of a collection from its user's, unless the collection exists."""
        user, _, name = key.partition("/")
        if self.find(user, name) is not None:
            return
        self._users.update_one({"_id": user}, {"$pull": {"collections": name}})
        if self.find(user, name) is not None:
            # Created again between the two writes.
            self._users.update_one({"_id": user}, {"$addToSet": {"collections": name}})

    def _takes_slot(self, user: str, name: str, limit: int) -> bool:
        """Append the name to its user's names, and return whether its slot is within the limit.

        A name beyond the limit is removed again. A name that is there already keeps its slot.
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
