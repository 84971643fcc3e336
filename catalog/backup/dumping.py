"""Reading a whole catalogue while it is in use, table after table, in an order that can be healed.

What is read is never one moment of the catalogue. The order of the tables makes sure that what
was read is enough for `catalog.backup.consistent_rows` to tell what belongs together:

- idempotency keys before chunks, so that the tasks that they name are read;
- chunks before tasks and images, so that work that ends meanwhile is at worst done again;
- tasks after chunks, so that a task knows every chunk that was read;
- names and products after images, so that what was deleted meanwhile is told by their absence;
- payloads before vectors, so that an image that loses the one has the other;
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
BLOBS = ("payloads", "vectors", "pictures")

#: Every table of a backup; others are derived, or of one moment.
TABLES = (*EARLY, *BLOBS, *LATE)

#: Rows asked for at a time. The embedded server moves its whole answer with every piece.
ROW_PAGE = 5_000

#: Blobs asked for at a time, each up to some MB.
BLOB_PAGE = 64

#: Called with the table, how many of its documents were done, and how many there are, if known.
Progress = Callable[[str, int, int | None], None]

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


@dataclass(frozen=True)
class Part:
    """A table: its name, whether it is of small rows, and its documents, to be read in turn."""

    table: str
    is_rows: bool
    documents: Iterator[bytes]


def dump(client: MongoClient[Row], name: str, progress: Progress) -> Iterator[Part]:
    """Return every table of the catalogue `name`; each must be read to its end before the next."""
    rows, blobs = databases(client, name)
    # Blobs are asked for by label: the embedded server would hold a whole table of them.
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
        # An image's second feature stands under its label with a minus.
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
