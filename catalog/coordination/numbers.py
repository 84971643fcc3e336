"""Numbers that are never used twice: labels of images, serials of products.

A label is a part of the keys of shards, so it must stay below 2**60.
"""

from __future__ import annotations

from pymongo import ReturnDocument

from catalog.database.connection import Row, Rows, insert_new


class Numbers:
    """One counter row from which blocks of numbers are taken."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def reserve(self, count: int) -> range:
        """Return `count` numbers that no other call returns; an empty range if it is below 1."""
        if count < 1:
            return range(0)
        row = self._raise_by(count)
        if row is None:
            # Not an upsert: of two concurrent ones, SecantusDB answers one with no row.
            insert_new(self._rows, [{"_id": "number", "last": 0}])
            row = self._raise_by(count)
        assert row is not None  # it was made above  # noqa: S101
        last: int = row["last"]
        return range(last - count + 1, last + 1)

    def _raise_by(self, count: int) -> Row | None:
        return self._rows.find_one_and_update(
            {"_id": "number"},
            {"$inc": {"last": count}},
            return_document=ReturnDocument.AFTER,
        )
