"""The schema version: compared at every start, raised by migrations.

A process never works on rows of another version than its own, nor before their indexes are built.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress

import structlog
from pymongo.database import Database
from pymongo.errors import ConnectionFailure, DuplicateKeyError, PyMongoError

from catalog.database.connection import Row, Rows, connect_patiently, databases
from catalog.database.lease import Holding, Lease, LeaseLostError
from catalog.schema.indexes import DECLARED, create_indexes, missing_indexes
from catalog.schema.migrations import MIGRATIONS, Migration
from config.refusal import refuse
from config.server_faults import mongo_fault

log = structlog.get_logger(__name__)

#: The version of the rows that this code reads and writes.
SCHEMA = max(MIGRATIONS)

#: How often a waiting process checks whether the upgrade is done.
WAIT_SECONDS = 0.2
#: How often a waiting process logs that it waits.
TELL_SECONDS = 30.0

_VERSION = "schema"

#: The id of the row that exists from the first write of a restore to its last.
RESTORE = "restore"


class SchemaTooNewError(Exception):
    """The rows were written by a newer version of the service."""


class MissingMigrationError(Exception):
    """The rows are older than the oldest that this code can migrate."""


class RestoreUnfinishedError(Exception):
    """A backup is being restored into this catalogue, or its restore was cut off."""


class Schema:
    """The version of one catalogue, and its upgrade under a lease."""

    def __init__(
        self,
        rows: Database[Row],
        blobs: Database[Row],
        version: int = SCHEMA,
        migrations: Mapping[int, Migration] = MIGRATIONS,
    ) -> None:
        """Take the version that the code needs, and the migrations by their versions."""
        self._rows = rows
        self._blobs = blobs
        self._kept: Rows = rows["schema"]
        self._lease = Lease(self._kept)
        self._version = version
        self._migrations = migrations

    def current(self) -> int | None:
        """Return the version of the rows, None for a database that was never used."""
        row = self._kept.find_one({"_id": _VERSION})
        return None if row is None else int(row["version"])

    def bring_up_to_date(self) -> None:
        """Build missing indexes and run migrations, or wait for the process that does.

        Indexes of large tables take minutes, so the client must be one of `connect_patiently`.
        Raises SchemaTooNewError, MissingMigrationError, RestoreUnfinishedError, PyMongoError, or
        what a migration raises.
        """
        told_at = -math.inf
        while not self._is_ready():
            holding = self._lease.take("looks at versions and indexes")
            if holding is not None:
                with holding, suppress(LeaseLostError):
                    self._prepare(holding)
                continue
            if time.monotonic() - told_at >= TELL_SECONDS and (held := self._lease.held()):
                log.warning("waiting for another process", work=held.work)
                told_at = time.monotonic()
            time.sleep(WAIT_SECONDS)

    def _is_ready(self) -> bool:
        if self._kept.find_one({"_id": RESTORE}) is not None:
            raise RestoreUnfinishedError(
                "a backup is being restored into it, or that was cut off; "
                "wait for `snapsku restore`, or run it again"
            )
        row = self._kept.find_one({"_id": _VERSION})
        if row is None:
            return False
        if row["version"] > self._version:
            raise SchemaTooNewError(
                f"the rows have version {row['version']}, this code knows version "
                f"{self._version}; run the newer release that wrote them, or restore a backup "
                "from before it"
            )
        # The hash alone misses a dropped index, the list one that is still being built.
        return (
            row["version"] == self._version
            and row.get("indexes") == DECLARED
            and not missing_indexes(self._rows.client, self._rows.name)
        )

    def _prepare(self, holding: Holding) -> None:
        """Build the indexes first, since migrations use them, then migrate."""
        is_new = self.current() is None
        with suppress(DuplicateKeyError):
            self._kept.insert_one({"_id": _VERSION, "version": self._version})
        steps = self._steps()
        create_indexes(
            self._rows.client,
            self._rows.name,
            lambda index: self._begin(holding, f"builds index {index}", is_told=not is_new),
        )
        self._kept.update_one({"_id": _VERSION}, {"$set": {"indexes": DECLARED}})
        for version, migration in steps:
            self._begin(holding, f"migrates rows to version {version}")
            migration(self._rows, self._blobs)
            # A process that lost its lease while suspended must not lower the version.
            before = {"_id": _VERSION, "version": version - 1}
            self._kept.update_one(before, {"$set": {"version": version}})
            log.warning("migration done", version=version)

    def _begin(self, holding: Holding, work: str, *, is_told: bool = True) -> None:
        holding.say(work)
        if is_told:
            log.warning("upgrade of the catalogue", work=work)

    def _steps(self) -> list[tuple[int, Migration]]:
        """Return the migrations that the rows need with their versions, in order; [] if none.

        Raises MissingMigrationError if one is missing.
        """
        found = self.current() or self._version
        steps = []
        for version in range(found + 1, self._version + 1):
            migration = self._migrations.get(version)
            if migration is None:
                raise MissingMigrationError(
                    f"the rows have version {found}, and this code has no way from version "
                    f"{version - 1} to {version}; run a release in between first"
                )
            steps.append((version, migration))
        return steps


def bring_up_to_date(url: str, name: str, timeout_seconds: float) -> None:
    """Bring the catalogue `name` up to date, by a client of its own from `connect_patiently`.

    Raises what `Schema.bring_up_to_date` raises, and PyMongoError.
    """
    with connect_patiently(url, timeout_seconds) as client:
        Schema(*databases(client, name)).bring_up_to_date()


def await_schema(url: str, name: str, timeout_seconds: float) -> None:
    """Bring the catalogue `name` up to date before a process works on it.

    Waits for a MongoDB that can't be reached, and for another process that does the same. Raises
    SystemExit with a one-line message if the rows can't be used. Closes its client, since a
    parent process that forks must have none.
    """
    while True:
        try:
            bring_up_to_date(url, name, timeout_seconds)
            return
        except ConnectionFailure as error:
            log.warning("waiting for MongoDB", fault=mongo_fault(error))
            # A refused connection fails at once, so pause before the next try.
            time.sleep(1.0)
        except (SchemaTooNewError, MissingMigrationError) as error:
            refuse(f"database {name}: {error}")
        except RestoreUnfinishedError as error:
            # Not `refuse`, which ends a service for good: a restart succeeds after the restore.
            raise SystemExit(f"snapsku: database {name}: {error}") from error
        except PyMongoError as error:
            raise SystemExit(f"snapsku: MongoDB {mongo_fault(error)}") from error
