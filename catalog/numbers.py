"""Numbers that are never used twice: labels of images, serials of products.

A label is what a vector is called in a shard, so it must stay below 2**63.
"""

from __future__ import annotations

from pymongo import ReturnDocument

from catalog.connection import Rows


class Numbers:
    """One counter row from which blocks of numbers are taken."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def reserve(self, count: int) -> range:
        """Give `count` numbers that nobody was or will be given."""
        if count < 1:
            return range(0)
        row = self._rows.find_one_and_update(
            {"_id": "number"},
            {"$inc": {"last": count}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        assert row is not None  # an upsert always gives a row  # noqa: S101
        last: int = row["last"]
        return range(last - count + 1, last + 1)
