"""The id of the catalogue, which everything that is kept outside of MongoDB carries.

A database that was restored to an earlier moment, or a new one beside an old data directory,
gives out the same numbers again. What Redis or a snapshot says of a number counts only if it
names the same catalogue.
"""

from __future__ import annotations

import secrets

from pymongo.errors import DuplicateKeyError

from catalog.database.connection import Rows

_ID = "catalogue"


class CatalogueId:
    """The row of the id, in the table `schema`; a process reads it once."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._known: str | None = None

    def get(self) -> str:
        """Return the id, 16 hexadecimal digits; the first call on a catalogue makes it."""
        if self._known is None:
            row = self._rows.find_one({"_id": _ID})
            self._known = row["id"] if row else self._make()
        return self._known

    def renew(self) -> None:
        """Drop the id, so that the next `get` makes another: data outside of MongoDB is void."""
        self._rows.delete_one({"_id": _ID})
        self._known = None

    def _make(self) -> str:
        made = secrets.token_hex(8)
        try:
            self._rows.insert_one({"_id": _ID, "id": made})
        except DuplicateKeyError:
            row = self._rows.find_one({"_id": _ID})
            if row is None:
                raise
            return str(row["id"])
        return made
