"""The seal of the catalogue: a value that only the secret key of its users' secrets can open.

A row beside the version of the rows; it comes here encrypted.
"""

from __future__ import annotations

from pymongo.errors import DuplicateKeyError

from catalog.database.connection import Rows

_ID = "seal"


class Seal:
    """The row of the seal; there is none before the first user, or in one from before."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def find(self) -> bytes | None:
        """Return the sealed value, or None."""
        row = self._rows.find_one({"_id": _ID})
        return None if row is None else bytes(row["sealed"])

    def put(self, sealed: bytes) -> bytes:
        """Write the value unless there is one; return the one that stands."""
        try:
            self._rows.insert_one({"_id": _ID, "sealed": sealed})
        except DuplicateKeyError:
            return self.find() or sealed
        return sealed

    def replace(self, sealed: bytes) -> None:
        """Write the value, whatever stood there."""
        self._rows.update_one({"_id": _ID}, {"$set": {"sealed": sealed}}, upsert=True)

    def remove(self) -> None:
        """Remove the value."""
        self._rows.delete_one({"_id": _ID})
