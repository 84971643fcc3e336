"""The seal of the catalogue: a value that only the key of its users' secrets decrypts.

It proves at a start that the right key is configured. This module gets it encrypted.
"""

from __future__ import annotations

from pymongo.errors import DuplicateKeyError

from catalog.database.connection import Rows

_ID = "seal"


class Seal:
    """The row of the seal, in the table `schema`.

    There is none before the first user, nor in a catalogue of a release without seals.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def find(self) -> bytes | None:
        """Return the sealed value, or None if there is none."""
        row = self._rows.find_one({"_id": _ID})
        return None if row is None else bytes(row["sealed"])

    def put(self, sealed: bytes) -> bytes:
        """Write the value unless there is one; return the value that is stored."""
        try:
            self._rows.insert_one({"_id": _ID, "sealed": sealed})
        except DuplicateKeyError:
            return self.find() or sealed
        return sealed

    def replace(self, sealed: bytes) -> None:
        """Write the value in place of any other."""
        self._rows.update_one({"_id": _ID}, {"$set": {"sealed": sealed}}, upsert=True)

    def remove(self) -> None:
        """Remove the value, if there is one."""
        self._rows.delete_one({"_id": _ID})
