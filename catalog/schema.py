"""The version of the rows: written once, compared at every start, raised by migrations.

A process never works on rows of another version than its own. Knows nothing of
what a migration does.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import structlog
from pymongo.database import Database
from pymongo.errors import ConnectionFailure, DuplicateKeyError, PyMongoError

from catalog.connection import Row, Rows, connect, databases, now, stamp
from catalog.migrations import MIGRATIONS, Migration
from config.refusal import refuse

log = structlog.get_logger(__name__)

#: The version of the rows that this code reads and writes.
SCHEMA = max(MIGRATIONS)

#: A migrating process that is silent so long is dead, and another one takes over.
LOCK = timedelta(seconds=30)
RENEWAL_SECONDS = 10.0
#: How long a process waits before it looks again whether the migration is done.
WAIT_SECONDS = 0.2

_VERSION = "schema"
_LOCK = "lock"

#: The row that is there from the first write of a restore to its last.
RESTORE = "restore"


class SchemaTooNewError(Exception):
    """The rows were written by a newer version of the service."""


class MissingMigrationError(Exception):
    """The rows are older than the oldest that this code can migrate."""


class RestoreUnfinishedError(Exception):
    """A backup is being restored into these rows, or was until the restore was cut off."""


class Schema:
    """The version of one catalogue: a row of its own, and a lock for who changes it."""

    def __init__(
        self,
        rows: Database[Row],
        blobs: Database[Row],
        version: int = SCHEMA,
        migrations: Mapping[int, Migration] = MIGRATIONS,
    ) -> None:
        """`version` is what the code needs, `migrations` how to get there."""
        self._rows = rows
        self._blobs = blobs
        self._kept: Rows = rows["schema"]
        self._version = version
        self._migrations = migrations

    def current(self) -> int | None:
        """Give the version of the rows, None for a database that nobody used yet."""
        row = self._kept.find_one({"_id": _VERSION})
        return None if row is None else int(row["version"])

    def bring_up_to_date(self) -> None:
        """Bring the rows to the version of the code; whoever comes meanwhile waits.

        Raises SchemaTooNewError, MissingMigrationError, RestoreUnfinishedError, or what a
        migration raises.
        """
        while not self._is_current():
            holder = uuid.uuid4().hex
            if self._take(holder):
                with self._held(holder):
                    self._migrate()
            else:
                time.sleep(WAIT_SECONDS)

    def _is_current(self) -> bool:
        if self._kept.find_one({"_id": RESTORE}) is not None:
            raise RestoreUnfinishedError(
                "a backup is being restored into it, or that was cut off; "
                "wait for `snapsku restore`, or run it again"
            )
        found = self.current()
        if found is None:
            try:
                self._kept.insert_one({"_id": _VERSION, "version": self._version})
            except DuplicateKeyError:
                return False  # another process was first: look at what it wrote
            return True
        if found > self._version:
            raise SchemaTooNewError(
                f"the rows have version {found}, this code knows version {self._version}; "
                "run the newer release that wrote them, or restore a backup from before it"
            )
        return found == self._version

    def _migrate(self) -> None:
        found = self.current() or self._version
        for version in range(found + 1, self._version + 1):
            migration = self._migrations.get(version)
            if migration is None:
                raise MissingMigrationError(
                    f"the rows have version {found}, and this code has no way from version "
                    f"{version - 1} to {version}; run a release in between first"
                )
            log.warning("migration begins", version=version)
            migration(self._rows, self._blobs)
            self._kept.update_one({"_id": _VERSION}, {"$set": {"version": version}})
            log.warning("migration done", version=version)

    def _take(self, holder: str) -> bool:
        """Take the lock, where nobody has it or its holder is dead."""
        lock = {"holder": holder, "until": stamp(now() + LOCK)}
        try:
            self._kept.insert_one({"_id": _LOCK, **lock})
        except DuplicateKeyError:
            held = self._kept.find_one({"_id": _LOCK})
            if held is None or held["until"] > stamp(now()):
                return False
            theirs = {"_id": _LOCK, "holder": held["holder"], "until": held["until"]}
            return self._kept.update_one(theirs, {"$set": lock}).modified_count == 1
        return True

    @contextmanager
    def _held(self, holder: str) -> Iterator[None]:
        """Renew the lock from a thread of its own, and give it free in the end."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(RENEWAL_SECONDS):
                try:
                    self._kept.update_one(
                        {"_id": _LOCK, "holder": holder}, {"$set": {"until": stamp(now() + LOCK)}}
                    )
                except PyMongoError as error:
                    # The next turn tries again; the lock outlives two that fail.
                    log.warning("lock of the migration not renewed", fault=str(error))

        thread = threading.Thread(target=renew, name="lock of the migration", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._kept.delete_one({"_id": _LOCK, "holder": holder})


def await_schema(url: str, name: str, timeout_seconds: float) -> None:
    """Bring the catalogue `name` up to date before a process works on it.

    Waits for a MongoDB that can't be reached. Ends the process with one clear line where
    the rows can't be worked on. Uses a client of its own and closes it, since a parent
    whose children use another must have none.
    """
    while True:
        try:
            with connect(url, timeout_seconds) as client:
                Schema(*databases(client, name)).bring_up_to_date()
            return
        except ConnectionFailure as error:
            log.warning("waiting for MongoDB", fault=str(error))
            # A server that refuses at once is asked no more often than one that is silent.
            time.sleep(1.0)
        except (SchemaTooNewError, MissingMigrationError) as error:
            refuse(f"database {name}: {error}")
        except RestoreUnfinishedError as error:
            # Not for ever: whoever starts it again finds it restored one day.
            raise SystemExit(f"snapsku: database {name}: {error}") from error
        except PyMongoError as error:
            raise SystemExit(f"snapsku: MongoDB refuses its work: {error}") from error
