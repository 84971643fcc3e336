"""Writing a backup into an empty database.

Until the last row is written, a mark keeps every process of the service from the database. The
mark names the backup and notes what was written of it, so that a restore that was cut off can be
resumed. Indexes are created first, while tables are empty: of full tables each takes minutes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import structlog
from pymongo import MongoClient
from pymongo.database import Database

from catalog.backup.consistent_rows import ConsistentRows, Source
from catalog.backup.dumping import BLOBS, Progress
from catalog.backup.restored_rows import RestoredRows, Step
from catalog.coordination.catalogue_id import CatalogueId
from catalog.coordination.seal import Seal
from catalog.database.connection import Row, Rows, databases, insert_new, now, stamp
from catalog.database.lease import Holding, Lease
from catalog.schema.indexes import create_indexes
from catalog.schema.version import RESTORE, SCHEMA, WAIT_SECONDS, Schema

log = structlog.get_logger(__name__)

#: A page ends once its blobs reach so many bytes together.
PAGE_BYTES = 8 * 2**20

#: Tables whose rows mean that the database is in use.
USED = (
    *("collections", "products", "images", "image_names", "image_contents", "tasks", "chunks"),
    *("accounts", "access_keys"),
)

#: Other tables that the service writes; they are dropped too, but do not count as use.
PASSING = (
    *("users", "models", "losses", "queues", "purges", "numbers", "keys"),
    *("clock", "owners", "turns"),
)


class RestoreRefusedError(Exception):
    """The database can't take this backup; the text is one line for an operator."""


def require_room(client: MongoClient[Row], name: str, schema: int, checksum: str) -> None:
    """Check that a backup of that schema version can be restored into the catalogue `name`.

    `checksum` identifies the backup. Writes nothing. Raises RestoreRefusedError if the database
    is in use, holds a part of another backup, or the schema is newer than this code's.
    """
    rows, blobs = databases(client, name)
    if schema > SCHEMA:
        raise RestoreRefusedError(
            f"the backup has rows of version {schema}, this code knows version {SCHEMA}; "
            "restore it with the newer release that wrote it"
        )
    mark = rows["schema"].find_one({"_id": RESTORE})
    if mark is not None:
        # A mark of an older release has no checksum: what it wrote is dropped.
        if mark.get("checksum", checksum) != checksum:
            raise RestoreRefusedError(
                f"database {name} holds a part of another backup, whose SHA-256 begins with "
                f"{mark['checksum'][:12]}; restore that one to its end, or drop the database first"
            )
        return
    version = rows["schema"].find_one({"_id": "schema"})
    if version is not None and version.get("restored") == checksum:
        raise RestoreRefusedError(
            f"this backup was restored into database {name} to its end; start the service"
        )
    used = [t for t in USED if rows[t].find_one({}, ["_id"]) is not None]
    used += [t for t in BLOBS if blobs[t].find_one({}, ["_id"]) is not None]
    if used:
        raise RestoreRefusedError(
            f"database {name} is not empty ({', '.join(used)}); a backup goes into an empty one, "
            "so drop it first or name another in SNAPSKU_MONGO_DATABASE"
        )


def restore(
    client: MongoClient[Row],
    name: str,
    source: Source,
    consistent: ConsistentRows,
    *,
    schema: int,
    catalogue: str,
    checksum: str,
    progress: Progress,
) -> None:
    """Write the surviving rows of a backup into the catalogue `name`, under a new catalogue id.

    `schema` is the version of its rows, `catalogue` the id of the catalogue it was taken of, and
    `checksum` identifies it. A restore of the same backup that was cut off is resumed. Rows of
    an older version are migrated at the end, so the client must be one of `connect_patiently`.

    Raises RestoreRefusedError if the database can't take the backup, with nothing written, or
    if another process takes the restore over. What `source` raises, and PyMongoError, leave a
    restore that can be resumed.
    """
    require_room(client, name, schema, checksum)
    rows, blobs = databases(client, name)
    with _take_lease(rows["schema"], name) as holding:
        # The previous holder of the lease may have written here.
        require_room(client, name, schema, checksum)
        mark = _Mark(rows["schema"], checksum, holding)
        if not mark.resume(rows, blobs):
            _clear(client, name, mark)
        identity = CatalogueId(rows["schema"])
        made = RestoredRows(rows, blobs, source, consistent, catalogues=(catalogue, identity.get()))
        for step in made.steps():
            _write(step, source, mark, progress)
        last = {"$set": {"last": consistent.highest}}
        rows["numbers"].update_one({"_id": "number"}, last, upsert=True)
        rows["schema"].delete_one({"_id": "schema"})
        version = {"_id": "schema", "version": schema, "restored": checksum}
        rows["schema"].insert_one(version)
        mark.remove()
    Schema(rows, blobs).bring_up_to_date()


class _Mark:
    """The row that exists from the first write of a restore to its last."""

    def __init__(self, kept: Rows, checksum: str, holding: Holding) -> None:
        self._kept = kept
        self._checksum = checksum
        self._holding = holding
        self._read: dict[str, int] = {}  # documents of the backup, by their table
        self._written: dict[str, int] = {}  # rows made of them, by the table of the rows
        self._ended: list[str] = []
        #: Whether the next page may have been written already without being noted.
        self.may_repeat = False

    def resume(self, rows: Database[Row], blobs: Database[Row]) -> bool:
        """Continue an earlier restore; return False if it must start from the beginning.

        Counts the rows: after a power cut the embedded server may have lost rows and kept the
        note of them.
        """
        mark = self._kept.find_one({"_id": RESTORE})
        if mark is None or "read" not in mark:
            return False
        for table, count in mark["written"].items():
            found = (blobs if table in BLOBS else rows)[table].count_documents({})
            if found < count:
                log.warning(
                    "rows missing, restore starts again",
                    table=table,
                    written=count,
                    found=found,
                )
                return False
        self._read, self._written, self._ended = mark["read"], mark["written"], mark["ended"]
        self.may_repeat = True
        self._set({"holder": self._holding.holder}, {})
        log.warning("restore continues", read=sum(self._read.values()))
        return True

    def begin(self) -> None:
        """Write the mark, which keeps every process away, before anything is dropped."""
        mark = {
            "checksum": self._checksum,
            "holder": self._holding.holder,
            "begun_at": stamp(now()),
        }
        # Without `read` a later try knows that dropping the tables was not completed.
        change = {"$set": mark, "$unset": {"read": 1, "written": 1, "ended": 1}}
        self._kept.update_one({"_id": RESTORE}, change, upsert=True)

    def note(self) -> None:
        """Save the progress. Raises RestoreRefusedError if another process took over."""
        mine = {"holder": self._holding.holder}
        done = {"read": self._read, "written": self._written, "ended": self._ended}
        self._set(done, mine)

    def _set(self, values: Row, where: Row) -> None:
        changed = self._kept.update_one({"_id": RESTORE, **where}, {"$set": values})
        if changed.matched_count == 0:
            raise RestoreRefusedError("another process has taken this restore over")

    def is_ended(self, table: str) -> bool:
        """Return whether a table of the backup was written completely."""
        return table in self._ended

    def end(self, table: str) -> None:
        """Note that a table of the backup was written completely."""
        self._ended.append(table)
        self.note()

    def read(self, table: str) -> int:
        """Return how many documents of a table of the backup were read, 0 if none."""
        return self._read.get(table, 0)

    def add(self, table: str, documents: int, written: dict[str, int]) -> None:
        """Note a page of `documents` of a table, and the count of rows written by table."""
        self._read[table] = self.read(table) + documents
        for target, count in written.items():
            self._written[target] = self._written.get(target, 0) + count
        self.note()
        self.may_repeat = False

    def remove(self) -> None:
        """Remove the mark, so that processes of the service may start."""
        self._kept.delete_one({"_id": RESTORE, "holder": self._holding.holder})


def _take_lease(kept: Rows, name: str) -> Holding:
    """Take the lease of the catalogue; wait for the lease of a killed process to run out.

    Raises RestoreRefusedError if the holder renews it.
    """
    lease = Lease(kept)
    seen = lease.held()
    if seen is not None:
        log.warning("waiting for the lease of another process", work=seen.work)
    while (holding := lease.take("restores a backup")) is None:
        held = lease.held()
        if held is not None and seen is not None and held.until > seen.until:
            raise RestoreRefusedError(f"another process works on database {name}: {held.work}")
        seen = seen or held
        time.sleep(WAIT_SECONDS)
    return holding


def _clear(client: MongoClient[Row], name: str, mark: _Mark) -> None:
    """Drop all tables, and make an empty catalogue with its indexes."""
    rows, blobs = databases(client, name)
    mark.begin()
    for table in (*USED, *PASSING):
        rows.drop_collection(table)
    for table in BLOBS:
        blobs.drop_collection(table)
    # A new id: what Redis and snapshots hold of the old catalogue must not be taken for this
    # one's.
    CatalogueId(rows["schema"]).renew()
    # The users of a backup may have been sealed with another key.
    Seal(rows["schema"]).remove()
    create_indexes(client, name)
    mark.note()


def _write(step: Step, source: Source, mark: _Mark, progress: Progress) -> None:
    """Write the rows of a step, from the document at which an earlier try stopped."""
    if mark.is_ended(step.table):
        return
    for page in _pages(islice(source.rows(step.table), mark.read(step.table), None), step.page):
        made = step.make(page)
        for rows, documents in made:
            if documents and mark.may_repeat:
                insert_new(rows, documents)
            elif documents:
                rows.insert_many(documents, ordered=False)
        mark.add(step.table, len(page), {rows.name: len(documents) for rows, documents in made})
        progress(step.table, mark.read(step.table), None)
    mark.end(step.table)
    progress(step.table, mark.read(step.table), mark.read(step.table))


def _pages(found: Iterator[Row], limit: int) -> Iterator[list[Row]]:
    page: list[Row] = []
    size = 0
    for row in found:
        page.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, bytes))
        if len(page) == limit or size >= PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page
