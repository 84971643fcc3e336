"""Writing a backup into an empty database, as one catalogue that goes on from there.

Until the last row is written a mark keeps every process of the service from the database. The mark
names the backup, and what of it was written, so that a restore which was cut off goes on there.
Indexes are made first, of empty tables: of full ones each would take minutes at the very end.
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

#: A page is cut where its documents are larger together.
PAGE_BYTES = 8 * 2**20

#: Tables whose rows mean that a service was at work here.
USED = (
    *("collections", "products", "images", "image_names", "image_contents", "tasks", "chunks"),
    *("accounts", "access_keys"),
)

#: Tables of what was going on in the service whose database it was.
PASSING = (
    *("users", "models", "losses", "queues", "purges", "numbers", "keys"),
    *("clock", "owners", "turns"),
)


class RestoreRefusedError(Exception):
    """The database can't take this backup; the text is one line for a person."""


def require_room(client: MongoClient[Row], name: str, schema: int, checksum: str) -> None:
    """Make sure that a backup of that schema version can be restored into the catalogue `name`.

    `checksum` tells one backup from another. Writes nothing. Raises RestoreRefusedError.
    """
    rows, blobs = databases(client, name)
    if schema > SCHEMA:
        raise RestoreRefusedError(
            f"the backup has rows of version {schema}, this code knows version {SCHEMA}; "
            "restore it with the newer release that wrote it"
        )
    mark = rows["schema"].find_one({"_id": RESTORE})
    if mark is not None:
        # A mark of an older release names no backup: what it wrote is dropped.
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
    """Write what survives of a backup into the catalogue `name`, and begin it anew.

    `schema` is the version of its rows, `catalogue` the id of the catalogue it was taken of, and
    `checksum` tells it from other backups. A part of this backup that was written before stays.
    Rows of an older version are migrated in the end, so the client must be one of
    `connect_patiently`.

    Raises RestoreRefusedError before anything is written; what `source` raises, and PyMongoError,
    leave the mark of a restore that was cut off.
    """
    require_room(client, name, schema, checksum)
    rows, blobs = databases(client, name)
    with _take_lease(rows["schema"], name) as holding:
        # What held the lease until now may have written here.
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
    """The row that is there from the first write of a restore to its last."""

    def __init__(self, kept: Rows, checksum: str, holding: Holding) -> None:
        self._kept = kept
        self._checksum = checksum
        self._holding = holding
        self._read: dict[str, int] = {}  # documents of the backup, by their table
        self._written: dict[str, int] = {}  # rows that they came to, by theirs
        self._ended: list[str] = []
        #: Whether the next page may have been written before, and not noted.
        self.may_repeat = False

    def resume(self, rows: Database[Row], blobs: Database[Row]) -> bool:
        """Go on where an earlier try stopped; return False where there is nothing to go on from.

        Counts the rows: after a power cut the embedded server may have lost some whose note
        it kept.
        """
        mark = self._kept.find_one({"_id": RESTORE})
        if mark is None or "read" not in mark:
            return False
        for table, count in mark["written"].items():
            found = (blobs if table in BLOBS else rows)[table].count_documents({})
            if found < count:
                log.warning("restore begins anew", table=table, written=count, found=found)
                return False
        self._read, self._written, self._ended = mark["read"], mark["written"], mark["ended"]
        self.may_repeat = True
        self._set({"holder": self._holding.holder}, {})
        log.warning("restore goes on", read=sum(self._read.values()))
        return True

    def begin(self) -> None:
        """Keep every process away before anything is dropped."""
        mark = {
            "checksum": self._checksum,
            "holder": self._holding.holder,
            "begun_at": stamp(now()),
        }
        # Without `read` a next try knows that what is there was not dropped to its end.
        change = {"$set": mark, "$unset": {"read": 1, "written": 1, "ended": 1}}
        self._kept.update_one({"_id": RESTORE}, change, upsert=True)

    def note(self) -> None:
        """Note what has been written. Raises RestoreRefusedError where another process goes on."""
        mine = {"holder": self._holding.holder}
        done = {"read": self._read, "written": self._written, "ended": self._ended}
        self._set(done, mine)

    def _set(self, values: Row, where: Row) -> None:
        changed = self._kept.update_one({"_id": RESTORE, **where}, {"$set": values})
        if changed.matched_count == 0:
            raise RestoreRefusedError("another process has taken this restore over")

    def is_ended(self, table: str) -> bool:
        """Return whether all of a table of the backup was written."""
        return table in self._ended

    def end(self, table: str) -> None:
        """Note that all of a table of the backup was written."""
        self._ended.append(table)
        self.note()

    def read(self, table: str) -> int:
        """Return how many documents of a table of the backup were gone through."""
        return self._read.get(table, 0)

    def add(self, table: str, documents: int, written: dict[str, int]) -> None:
        """Note one page more of a table of the backup, and the rows that it came to."""
        self._read[table] = self.read(table) + documents
        for target, count in written.items():
            self._written[target] = self._written.get(target, 0) + count
        self.note()
        self.may_repeat = False

    def remove(self) -> None:
        """Let the processes of the service in."""
        self._kept.delete_one({"_id": RESTORE, "holder": self._holding.holder})


def _take_lease(kept: Rows, name: str) -> Holding:
    """Take the lease of the catalogue, after waiting for the end of that of a killed process.

    Raises RestoreRefusedError where its holder lives.
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
    """Drop what is there, and make an empty catalogue with its indexes."""
    rows, blobs = databases(client, name)
    mark.begin()
    for table in (*USED, *PASSING):
        rows.drop_collection(table)
    for table in BLOBS:
        blobs.drop_collection(table)
    # From here on it is another catalogue than the one whose rows it gets: what Redis and
    # snapshots hold of that one is not taken for its own.
    CatalogueId(rows["schema"]).renew()
    # The users of a backup may have been sealed with another key.
    Seal(rows["schema"]).remove()
    create_indexes(client, name)
    mark.note()


def _write(step: Step, source: Source, mark: _Mark, progress: Progress) -> None:
    """Write what a table of the backup comes to, from where an earlier try has noted."""
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
