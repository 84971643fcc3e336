"""Tables in memory, on which the repositories of the catalogue make the rows of a large one.

So a generated row is one that the service's own code wrote. They know what that code asks while
images are taken in and end, and raise NotImplementedError for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

Row = dict[str, Any]

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$in": lambda value, wanted: value in wanted,
    "$gt": lambda value, wanted: value is not None and value > wanted,
    "$gte": lambda value, wanted: value is not None and value >= wanted,
    "$lt": lambda value, wanted: value is not None and value < wanted,
    "$lte": lambda value, wanted: value is not None and value <= wanted,
    "$exists": lambda value, wanted: (value is not None) == wanted,
}


@dataclass(frozen=True)
class Written:
    """How many rows an update or a deletion met."""

    matched_count: int

    @property
    def modified_count(self) -> int:
        return self.matched_count

    @property
    def deleted_count(self) -> int:
        return self.matched_count


class Found:
    """What a find found; what it was limited to is read at once."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows

    def batch_size(self, _: int) -> Found:
        return self

    def limit(self, count: int) -> Found:
        return Found(list(self._rows)[:count])

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)


class Table:
    """Rows by `_id`, with those calls of a collection that the repositories make."""

    def __init__(self) -> None:
        self.rows: dict[Any, Row] = {}

    def take(self) -> list[Row]:
        """Return all rows, and keep none."""
        rows, self.rows = list(self.rows.values()), {}
        return rows

    def insert_one(self, row: Row) -> None:
        if row["_id"] in self.rows:
            raise DuplicateKeyError(f"{row['_id']} is there already")
        self.rows[row["_id"]] = dict(row)

    def insert_many(self, rows: Sequence[Row], ordered: bool = True) -> None:
        assert not ordered
        faults = []
        for index, row in enumerate(rows):
            try:
                self.insert_one(row)
            except DuplicateKeyError:
                faults.append({"index": index, "code": 11000})
        if faults:
            raise BulkWriteError({"writeErrors": faults, "writeConcernErrors": []})

    def find(self, wanted: Row, fields: object = None) -> Found:
        return Found([dict(row) for row in self._matching(wanted)])

    def find_one(self, wanted: Row, fields: object = None) -> Row | None:
        return next((dict(row) for row in self._matching(wanted)), None)

    def update_one(self, wanted: Row, change: Row, upsert: bool = False) -> Written:
        for row in self._matching(wanted):
            _change(row, change)
            return Written(1)
        if upsert:
            _change(self.rows.setdefault(wanted["_id"], {"_id": wanted["_id"]}), change)
        return Written(0)

    def update_many(self, wanted: Row, change: Row) -> Written:
        found = self._matching(wanted)
        for row in found:
            _change(row, change)
        return Written(len(found))

    def bulk_write(self, steps: Sequence[UpdateOne], ordered: bool) -> None:
        assert not ordered
        for step in steps:
            assert isinstance(step._doc, dict)
            self.update_one(dict(step._filter), step._doc)

    def find_one_and_update(
        self,
        wanted: Row,
        change: Row,
        upsert: bool = False,
        return_document: bool = ReturnDocument.BEFORE,
    ) -> Row | None:
        before = self.find_one(wanted)
        self.update_one(wanted, change, upsert)
        if return_document == ReturnDocument.BEFORE:
            return before
        # By _id: the change may have been to what was asked for.
        return self.find_one({"_id": wanted["_id"]}) if before is not None or upsert else None

    def delete_one(self, wanted: Row) -> Written:
        return self._delete(self._matching(wanted)[:1])

    def delete_many(self, wanted: Row) -> Written:
        return self._delete(self._matching(wanted))

    def _delete(self, rows: Sequence[Row]) -> Written:
        for row in rows:
            del self.rows[row["_id"]]
        return Written(len(rows))

    def _matching(self, wanted: Row) -> list[Row]:
        key = wanted.get("_id")
        if isinstance(key, dict) and set(key) == {"$in"}:
            candidates = [self.rows[one] for one in dict.fromkeys(key["$in"]) if one in self.rows]
        elif key is not None:
            candidates = [self.rows[key]] if key in self.rows else []
        else:
            candidates = list(self.rows.values())
        rest = [(field, value) for field, value in wanted.items() if field != "_id"]
        return [row for row in candidates if all(_fits(row.get(f), v) for f, v in rest)]


def _fits(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return bool(value == wanted)
    for operator, operand in wanted.items():
        if operator not in _OPERATORS:
            raise NotImplementedError(operator)
        if not _OPERATORS[operator](value, operand):
            return False
    return True


def _change(row: Row, change: Row) -> None:
    for operator, fields in change.items():
        for field, value in fields.items():
            if "." in field:
                raise NotImplementedError(field)
            match operator:
                case "$set":
                    row[field] = value
                case "$unset":
                    row.pop(field, None)
                case "$inc":
                    row[field] = row.get(field, 0) + value
                case "$min":
                    row[field] = min(row.get(field, value), value)
                case "$addToSet":
                    added = value["$each"] if isinstance(value, dict) else [value]
                    held = row.get(field, [])
                    row[field] = [*held, *(one for one in added if one not in held)]
                case "$pull":
                    row[field] = [one for one in row[field] if one != value]
                case "$pullAll":
                    row[field] = [one for one in row[field] if one not in value]
                case _:
                    raise NotImplementedError(operator)


class Database:
    """Tables by name, made when they are asked for."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}

    def __getitem__(self, name: str) -> Table:
        return self.tables.setdefault(name, Table())


class MemoryClient:
    """What `open_catalog` takes for a client."""

    def __init__(self) -> None:
        self.databases: dict[str, Database] = {}

    def __getitem__(self, name: str) -> Database:
        return self.databases.setdefault(name, Database())
