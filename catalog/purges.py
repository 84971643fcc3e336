"""Deleted collections of which something is left.

Deleting a collection removes its one row. Everything else of its generation can't be
reached from then on, and goes in the background. So does what is left of a collection
whose creation was cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from catalog.connection import Row, Rows, insert_new, moment, now, stamp

#: A submission that read the collection before its end may still write for so long.
LINGER = timedelta(minutes=15)

#: How often a generation is looked at in which nothing was found.
PAUSE = timedelta(minutes=1)


@dataclass(frozen=True)
class Purge:
    """A generation that is being removed."""

    generation: str
    collection: str
    deleted_at: datetime


class Purges:
    """The rows of purges; `_id` is the generation."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def begin(self, generation: str, collection: str) -> None:
        """Note that a collection, given by its key, is about to be removed."""
        self._insert(generation, collection, timedelta(0))

    def expect(self, generation: str, collection: str) -> None:
        """Note that a collection is about to be made: if nobody ends this, it was cut off."""
        self._insert(generation, collection, LINGER)

    def _insert(self, generation: str, collection: str, pause: timedelta) -> None:
        row = {
            "_id": generation,
            "collection": collection,
            "deleted_at": stamp(now()),
            "due_at": stamp(now() + pause),
        }
        insert_new(self._rows, [row])

    def find(self, generation: str) -> Purge | None:
        """Give the purge of a generation, None where that is not being removed."""
        row = self._rows.find_one({"_id": generation})
        return None if row is None else _of(row)

    def due(self, limit: int) -> list[Purge]:
        """Give purges that are to be worked on now."""
        rows = self._rows.find({"due_at": {"$lte": stamp(now())}}).limit(limit)
        return [_of(row) for row in rows]

    def found_nothing(self, purge: Purge) -> bool:
        """Note that nothing was left of a generation; True where it is done with for good."""
        if now() - purge.deleted_at > LINGER:
            self.end(purge.generation)
            return True
        self.put_off(purge)
        return False

    def put_off(self, purge: Purge) -> None:
        """Have a generation looked at again in a while."""
        self._rows.update_one({"_id": purge.generation}, {"$set": {"due_at": stamp(now() + PAUSE)}})

    def end(self, generation: str) -> bool:
        """Forget a purge; tell whether it was there."""
        return self._rows.delete_one({"_id": generation}).deleted_count == 1


def _of(row: Row) -> Purge:
    return Purge(row["_id"], row["collection"], moment(row["deleted_at"]))
