"""Purges: deleted collections of which rows are left.

Deleting a collection removes its one row. Everything else of its generation can't be reached
from then on, and is removed in the background. So is what is left of a collection whose creation
was cut off: its purge is written before its row, marked as `expected`, and removed once the
collection is complete. A deletion that comes before that takes the purge over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from catalog.database.connection import Row, Rows, insert_new, moment, now, stamp

#: How long a submission that read the collection before its deletion may still write.
LINGER = timedelta(minutes=15)

#: The pause before a generation in which nothing was found is looked at again.
PAUSE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Purge:
    """A generation that is being removed."""

    generation: str
    collection: str
    deleted_at: datetime

    @classmethod
    def from_row(cls, row: Row) -> Purge:
        """Return the purge of a row."""
        return cls(
            generation=row["_id"],
            collection=row["collection"],
            deleted_at=moment(row["deleted_at"]),
        )


class Purges:
    """The rows of purges; `_id` is the generation."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def begin(self, generation: str, collection: str) -> None:
        """Write the purge of a collection, given by its key, before its row is removed."""
        row = self._row(generation, collection, timedelta(0))
        values = {"deleted_at": row["deleted_at"], "due_at": row["due_at"]}
        while insert_new(self._rows, [row]):
            # There is one of a creation that has not ended, or of another deletion.
            begun = self._rows.update_one(
                {"_id": generation}, {"$set": values, "$unset": {"expected": 1}}
            )
            if begun.matched_count == 1:
                return

    def expect(self, generation: str, collection: str) -> None:
        """Write the purge of a collection before it is created; `fulfil` removes it again.

        Without that, the creation counts as cut off after LINGER.
        """
        row = self._row(generation, collection, LINGER)
        insert_new(self._rows, [row | {"expected": True}])

    def fulfil(self, generation: str) -> bool:
        """Remove the purge of a collection that was created.

        Return False if a deletion has begun, or the sweep took the creation for cut off.
        """
        return self._rows.delete_one({"_id": generation, "expected": True}).deleted_count == 1

    @staticmethod
    def _row(generation: str, collection: str, pause: timedelta) -> Row:
        return {
            "_id": generation,
            "collection": collection,
            "deleted_at": stamp(now()),
            "due_at": stamp(now() + pause),
        }

    def find(self, generation: str) -> Purge | None:
        """Return the purge of a generation, None if there is none."""
        row = self._rows.find_one({"_id": generation})
        return None if row is None else Purge.from_row(row)

    def due(self, limit: int) -> list[Purge]:
        """Return at most `limit` purges that are to be worked on now."""
        rows = self._rows.find({"due_at": {"$lte": stamp(now())}}).limit(limit)
        return [Purge.from_row(row) for row in rows]

    def found_nothing(self, purge: Purge) -> bool:
        """Note that nothing was left of a generation; return whether the purge is over.

        It is over LINGER after the deletion, unless another deletion has begun since `purge` was
        read. Otherwise it is looked at again after PAUSE.
        """
        if now() - purge.deleted_at > LINGER:
            as_read = {"_id": purge.generation, "deleted_at": stamp(purge.deleted_at)}
            return self._rows.delete_one(as_read).deleted_count == 1
        self.put_off(purge)
        return False

    def put_off(self, purge: Purge) -> None:
        """Make a purge due again after PAUSE."""
        self._rows.update_one({"_id": purge.generation}, {"$set": {"due_at": stamp(now() + PAUSE)}})

    def end(self, generation: str) -> bool:
        """Remove a purge, and return whether there was one."""
        return self._rows.delete_one({"_id": generation}).deleted_count == 1
