"""Every index of the catalogue besides `_id`: each query goes by `_id` or by exactly one of these.

One that leads with a field that few rows have is sparse, so that the rest of the table costs
nothing in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from catalog.connection import Row, databases

#: The server has an index of these fields with other options.
_CONFLICTS = (85, 86)


@dataclass(frozen=True)
class Index:
    """An index of a table; only rows that have one of the fields are in a sparse one."""

    table: str
    fields: tuple[str, ...]
    sparse: bool = False

    def __str__(self) -> str:
        return f"{self.table}.{'+'.join(self.fields)}"


def _index(table: str, *fields: str) -> Index:
    return Index(table, fields)


def _sparse(table: str, *fields: str) -> Index:
    return Index(table, fields, sparse=True)


INDEXES = (
    _index("products", "deleted_at"),
    _index("products", "listing"),
    _index("tasks", "listing"),
    _index("tasks", "task_id"),
    _sparse("tasks", "submission_at"),
    # All that the backlog is made of, so that it is read from the index alone.
    _sparse("tasks", "open_since", "image_count", "payload_bytes"),
    _sparse("tasks", "remove_at"),
    _index("keys", "remove_at"),
    _index("access_keys", "api_key_hash"),
    _sparse("collections", "recount_at"),
    _sparse("collections", "change_at"),
    _index("losses", "generation"),
    _index("images", "generation"),
    _index("purges", "due_at"),
    _index("images", "product_serial"),
    _sparse("images", "index_at"),
    # The images that the index stage has in hands at this moment.
    _sparse("images", "index_epoch"),
    _sparse("images", "remove_at"),
    _index("image_contents", "label"),
    _sparse("chunks", "due_at"),
    _sparse("chunks", "sent_at"),
    _sparse("chunks", "change"),
)


def create_indexes(client: MongoClient[Row], name: str) -> None:
    """Create the indexes that are missing; one that has other options is made anew."""
    rows, _ = databases(client, name)
    for index in INDEXES:
        keys = [(field, 1) for field in index.fields]
        try:
            rows[index.table].create_index(keys, sparse=index.sparse)
        except OperationFailure as error:
            if error.code not in _CONFLICTS:
                raise
            rows[index.table].drop_index(keys)
            rows[index.table].create_index(keys, sparse=index.sparse)


def missing_indexes(client: MongoClient[Row], name: str) -> list[str]:
    """Return the indexes that are not there, as table.field."""
    rows, _ = databases(client, name)
    found = {
        Index(table, tuple(field for field, _ in each["key"]))
        for table in {index.table for index in INDEXES}
        for each in rows[table].index_information().values()
    }
    return [str(index) for index in INDEXES if Index(index.table, index.fields) not in found]
