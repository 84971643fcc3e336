"""The connection to MongoDB, and what every repository of this package builds on.

Two logical databases: rows in one, blobs (payloads, vectors, kept pictures) in the
other, because the embedded server has one lock per logical database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError
from pymongo.uri_parser import parse_uri

from catalog.database.database_time import DATABASE_TIME

Row = dict[str, Any]
Rows = Collection[Row]

DUPLICATE_KEY = 11000

#: How long a command may take. Building an index of a large table, or a migration, takes longer.
ANSWER_SECONDS = 60.0


def connect(url: str, timeout_seconds: float) -> MongoClient[Row]:
    """Return a client whose writes are acknowledged only when they are in the server's journal.

    A `journal` option of the URL overrides that. The client's heartbeats set the clock of `now`.
    Makes no round trip. `timeout_seconds` limits connecting and the choice of a server; a
    command may take ANSWER_SECONDS.
    """
    return _client(url, timeout_seconds, int(ANSWER_SECONDS * 1000))


def connect_patiently(url: str, timeout_seconds: float) -> MongoClient[Row]:
    """Return a client like that of `connect` that waits for answers without a limit.

    For work that grows with the catalogue: indexes, migrations, a restore. A server that is
    gone is noticed by heartbeats and by TCP keep-alive.
    """
    return _client(url, timeout_seconds, None)


def _client(url: str, timeout_seconds: float, answer: int | None) -> MongoClient[Row]:
    milliseconds = int(timeout_seconds * 1000)
    return MongoClient(
        url,
        w="majority",
        journal=parse_uri(url)["options"].get("journal", True),
        appname="snapsku",
        serverSelectionTimeoutMS=milliseconds,
        connectTimeoutMS=milliseconds,
        socketTimeoutMS=answer,
        event_listeners=[DATABASE_TIME.listener()],
        # A streamed answer has no round trip, so it tells no time.
        serverMonitoringMode="poll",
    )


def databases(client: MongoClient[Row], name: str) -> tuple[Database[Row], Database[Row]]:
    """Return the database of the rows and that of the blobs."""
    return client[name], client[f"{name}_blobs"]


def now() -> datetime:
    """Return the current time of the database in UTC, in whole milliseconds as rows keep it.

    It is the same on every machine, whatever the machine's own clock says.
    """
    return moment(DATABASE_TIME.microseconds() // 1000)


def time_of(client: MongoClient[Row]) -> datetime:
    """Ask the server for its time, and return it as `now` does from here on.

    For decisions about a lease: if the clock of the database was just set, a process must not
    judge by the new time what another wrote by the old one. Raises PyMongoError.
    """
    DATABASE_TIME.ask(client)
    return now()


def stamp(moment: datetime) -> int:
    """Return a time as rows keep it: whole milliseconds since 1970, UTC.

    A number, because the embedded server turns a datetime that is set by an update into a
    string, and then compares it as one.
    """
    return round(moment.timestamp() * 1000)


def moment(stamp: int) -> datetime:
    """Return the time that a row keeps."""
    return datetime.fromtimestamp(stamp / 1000, UTC)


def moment_or_none(stamp: int | None) -> datetime | None:
    """Return the time that a row keeps, None if it keeps none."""
    return None if stamp is None else moment(stamp)


def insert_new(rows: Rows, documents: Sequence[Row]) -> set[int]:
    """Insert documents, and return the positions of those whose `_id` was taken.

    Those are left as they were; the set is empty if all were inserted. Raises BulkWriteError for
    any other fault.
    """
    try:
        if documents:
            rows.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        refused = refused_writes(error)
        if set(refused.values()) != {DUPLICATE_KEY}:
            raise
        return set(refused)
    return set()


def refused_writes(error: BulkWriteError) -> dict[int, int]:
    """Return the server's error code of each write that was refused, by position.

    Raises the error if the other writes may be lost, too (a write concern error).
    """
    if error.details.get("writeConcernErrors"):
        raise error
    return {fault["index"]: fault["code"] for fault in error.details["writeErrors"]}


def find_by_id(
    rows: Rows, ids: Sequence[Any], fields: Sequence[str] | None = None
) -> dict[Any, Row]:
    """Return the rows with these ids, by `_id`, in the order of `ids`; missing ones are left out.

    `fields` limits which fields are read.
    """
    if not ids:
        return {}
    # One batch: without a size, a second round trip fetches the rows beyond 101.
    cursor = rows.find({"_id": {"$in": list(ids)}}, fields).batch_size(len(ids) + 1)
    found = {row["_id"]: row for row in cursor}
    return {one: found[one] for one in ids if one in found}


def update_by_id(rows: Rows, ids: Iterable[Any], change: Row, where: Row | None = None) -> None:
    """Change the rows with these ids that also match `where`.

    Without ids there is no round trip, here as in `delete_by_id`: the embedded server reads the
    whole table for an empty `$in`.
    """
    wanted = list(ids)
    if wanted:
        rows.update_many({"_id": {"$in": wanted}, **(where or {})}, change)


def delete_by_id(rows: Rows, ids: Iterable[Any], where: Row | None = None) -> None:
    """Remove the rows with these ids that also match `where`."""
    wanted = list(ids)
    if wanted:
        rows.delete_many({"_id": {"$in": wanted}, **(where or {})})
