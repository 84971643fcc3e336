"""Every index of the catalogue besides `_id`: each query goes by `_id` or by exactly one of these.

One that leads with a field that few rows have is partial: the other rows cost nothing in it. A
query by such an index compares that field with something, so that those never match.
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

#: The server has an index of these fields with other options.
_CONFLICTS = (85, 86)


@dataclass(frozen=True)
class Index:
    """An index of a table; only rows that have its first field are in a partial one."""

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
    # All that the backlog is made of, so that it is read from the index alone.
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
    # What a new index process reads, beyond its snapshots.
    _partial("images", "shown_at"),
    # The images that the index stage has in hands at this moment.
    _partial("images", "index_epoch"),
    _partial("images", "remove_at"),
    _index("image_contents", "label"),
    *(_partial("chunks", field) for field in TIME_FIELDS),
    _partial("chunks", "change"),
)


#: Stands for all of them: a catalogue that notes it had every index built to its end.
DECLARED = hashlib.sha256(repr(INDEXES).encode()).hexdigest()[:16]


def create_indexes(
    client: MongoClient[Row], name: str, begins: Callable[[str], None] = lambda _: None
) -> None:
    """Create the indexes that are missing; one that has other options is made anew.

    Returns when all of them are built. An index that another process builds is waited for. A
    large table takes minutes, so the client must be one of `connect_patiently`, unless tables
    are empty. Calls `begins` with each index that is not listed, before it is built.
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
    """Return the indexes that are not there, as table.field.

    MongoDB lists an index from the beginning of its build, so one that is missing here is not
    there, and one that is not missing may not be usable yet.
    """
    rows, _ = databases(client, name)
    found = {
        Index(table, tuple(field for field, _ in each["key"]))
        for table in {index.table for index in INDEXES}
        for each in rows[table].index_information().values()
    }
    return [str(index) for index in INDEXES if Index(index.table, index.fields) not in found]
