"""Every index of the catalogue besides `_id`: each query goes by `_id` or by exactly one of these.

An index whose first field few rows have is partial: it has no entries for the other rows. A
query by a partial index compares that field with a value, so that the other rows never match.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from catalog.database.connection import Row, databases
from catalog.rows.chunks import TIME_FIELDS

#: Error codes: the server has an index of these fields with other options.
_CONFLICTS = (85, 86)


@dataclass(frozen=True)
class Index:
    """An index of a table; a partial one has only the rows that have its first field."""

    table: str
    fields: tuple[str, ...]
    is_partial: bool = False

    def __str__(self) -> str:
        return f"{self.table}.{'+'.join(self.fields)}"


def _index(table: str, *fields: str) -> Index:
    return Index(table, fields)


def _partial(table: str, *fields: str) -> Index:
    return Index(table, fields, is_partial=True)


INDEXES = (
    _index("products", "deleted_at"),
    _index("products", "listing"),
    _partial("products", "copy_at"),
    _index("tasks", "listing"),
    _index("tasks", "task_id"),
    _index("tasks", "state_listing"),
    _index("tasks", "state_task_id"),
    _partial("tasks", "submission_at"),
    # All fields of the backlog, so that it is read from the index alone.
    _partial("tasks", "open_since", "image_count", "payload_bytes"),
    _partial("tasks", "remove_at"),
    _index("keys", "remove_at"),
    _index("access_keys", "api_key_hash"),
    _partial("collections", "recount_at"),
    _partial("collections", "change_at"),
    _index("losses", "generation"),
    _index("images", "generation"),
    _index("purges", "due_at"),
    _index("images", "product_serial"),
    _partial("images", "index_at"),
    # What a new index process reads besides its snapshots.
    _partial("images", "shown_at"),
    # The images that the index stage works on at this moment.
    _partial("images", "index_epoch"),
    _partial("images", "remove_at"),
    _index("image_contents", "label"),
    *(_partial("chunks", field) for field in TIME_FIELDS),
    _partial("chunks", "change"),
)


#: A hash of all indexes; a catalogue that has it in its row had every index built.
DECLARED = hashlib.sha256(repr(INDEXES).encode()).hexdigest()[:16]


def create_indexes(
    client: MongoClient[Row], name: str, begins: Callable[[str], None] = lambda _: None
) -> None:
    """Create the indexes that are missing; rebuild those with other options.

    Returns when all are built; waits for an index that another process builds. A large table
    takes minutes, so the client must be one of `connect_patiently`, unless tables are empty.
    Calls `begins` with the name of each missing index before it is built. Raises PyMongoError.
    """
    rows, _ = databases(client, name)
    missing = set(missing_indexes(client, name))
    for index in INDEXES:
        if str(index) in missing:
            begins(str(index))
        keys = [(field, 1) for field in index.fields]
        options: dict[str, Any] = (
            {"partialFilterExpression": {index.fields[0]: {"$exists": True}}}
            if index.is_partial
            else {}
        )
        try:
            rows[index.table].create_index(keys, **options)
        except OperationFailure as error:
            if error.code not in _CONFLICTS:
                raise
            with suppress(OperationFailure):  # another process was first
                rows[index.table].drop_index(keys)
            rows[index.table].create_index(keys, **options)


def missing_indexes(client: MongoClient[Row], name: str) -> list[str]:
    """Return the indexes that the server does not list, as table.field; [] if it lists all.

    MongoDB lists an index from the beginning of its build, so one that is listed may not be
    usable yet.
    """
    rows, _ = databases(client, name)
    found = {
        Index(table, tuple(field for field, _ in each["key"]))
        for table in {index.table for index in INDEXES}
        for each in rows[table].index_information().values()
    }
    return [str(index) for index in INDEXES if Index(index.table, index.fields) not in found]
