"""Which catalogue this is: an id that everything carries that is kept outside of MongoDB.

Numbers are given out again by a database that was restored to an earlier moment, or by a
new one beside an old data directory. What Redis or a snapshot says of a number counts only
where it names the same catalogue.
"""

from __future__ import annotations

import secrets

from pymongo.errors import DuplicateKeyError

from catalog.database.connection import Rows

_ID = "catalogue"


class CatalogueId:
    """A row beside the version of the rows; a process reads it once."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._known: str | None = None

    def get(self) -> str:
        """Return the id, 16 hexadecimal digits, made at the first use."""
        if self._known is None:
            row = self._rows.find_one({"_id": _ID})
            self._known = row["id"] if row else self._make()
        return self._known

    def renew(self) -> None:
        """Make this another catalogue: what is kept outside of MongoDB is not its own."""
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
