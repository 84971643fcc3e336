"""Reading a whole catalogue while it is in use, table after table.

The tables are not read at one moment. Their order makes sure that
`catalog.backup.consistent_rows` can tell which rows belong together:

- idempotency keys before chunks, so that the tasks that they name are read;
- chunks before tasks and images, so that work that ends meanwhile is at worst done again;
- tasks after chunks, so that a task names every chunk that was read;
- names and products after images, so that they are missing for what was deleted meanwhile;
- payloads before vectors, so that an image whose payload was removed has its vector;
- numbers last, so that none is given out again.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database

from catalog.database.connection import Row, databases

#: Small documents, in the order in which they are read.
EARLY = ("keys", "chunks", "tasks", "images", "image_names", "image_contents", "products")
LATE = ("collections", "users", "accounts", "access_keys", "models", "numbers")
BLOBS = ("payloads", "vectors", "pictures", "local_features")

#: Every table of a backup; the others are derived from these, or describe a moment.
TABLES = (*EARLY, *BLOBS, *LATE)

#: Rows asked for at a time. The embedded server copies its whole answer for every batch.
ROW_PAGE = 5_000

#: Blobs asked for at a time, each up to some MB.
BLOB_PAGE = 64

#: Called with a table, the count of its documents done, and the count of all, None if unknown.
Progress = Callable[[str, int, int | None], None]

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


@dataclass(frozen=True)
class Part:
    """A table: its name, whether its rows are small, and its documents as raw BSON."""

    table: str
    is_rows: bool
    documents: Iterator[bytes]


def dump(client: MongoClient[Row], name: str, progress: Progress) -> Iterator[Part]:
    """Yield every table of the catalogue `name`; read each to its end before the next.

    Raises PyMongoError.
    """
    rows, blobs = databases(client, name)
    # Blobs are asked for by label: the embedded server would load a whole table of them.
    waiting, alive = array("q"), array("q")

    def images() -> Iterator[bytes]:
        for data in _documents(_raw(rows, "images")):
            row = bson.decode(data)
            if row["deleted_at"] is None and row["outcome"] is None and row["url"] is None:
                waiting.append(row["_id"])
            if row["deleted_at"] is None:
                alive.append(row["_id"])
            yield data

    for table in EARLY:
        found = images() if table == "images" else _documents(_raw(rows, table))
        yield Part(table, True, _told(progress, table, None, found))
    for table in BLOBS:
        labels = waiting if table == "payloads" else alive
        # An image's second vector is stored under its negated label.
        signs = (1, -1) if table == "vectors" else (1,)
        found = _by_label(_raw(blobs, table), labels, signs)
        yield Part(table, False, _told(progress, table, len(labels), found))
    for table in LATE:
        found = _documents(_raw(rows, table))
        yield Part(table, True, _told(progress, table, None, found))


def _raw(database: Database[Row], table: str) -> Collection[RawBSONDocument]:
    return Collection(database, table, codec_options=_RAW)  # type: ignore[arg-type]


def _documents(rows: Collection[RawBSONDocument]) -> Iterator[bytes]:
    with rows.find({}).batch_size(ROW_PAGE) as found:
        for document in found:
            yield bytes(document.raw)


def _by_label(
    blobs: Collection[RawBSONDocument], labels: Sequence[int], signs: Sequence[int]
) -> Iterator[bytes]:
    for start in range(0, len(labels), BLOB_PAGE):
        page = [sign * label for label in labels[start : start + BLOB_PAGE] for sign in signs]
        with blobs.find({"_id": {"$in": page}}).batch_size(len(page) + 1) as found:
            for document in found:
                yield bytes(document.raw)


def _told(
    progress: Progress, table: str, total: int | None, documents: Iterator[bytes]
) -> Iterator[bytes]:
    done = 0
    progress(table, 0, total)
    for document in documents:
        yield document
        done += 1
        if done % BLOB_PAGE == 0:
            progress(table, done, total)
    progress(table, done, done)
