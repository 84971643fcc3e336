"""Decides whether more work may be taken: how much waits, how long, and how much disk is free.

What waits is counted from the rows, not from the queues.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pymongo.errors import OperationFailure
from redis.exceptions import RedisError

from app.http.envelope import Busy
from broker.reports.process_reports import ProcessReports, least_free
from catalog.database.connection import now
from catalog.store import Catalog
from config.files import free_bytes
from config.settings import Settings

#: A measurement is used for so long at least, and for longer if more than this share of the time
#: would be spent on measuring.
FRESH_SECONDS = 1.0
MEASURED_SHARE = 0.05

#: How long a measurement of the database's free disk is used.
DATABASE_DISK_SECONDS = 30.0

#: Retry-After of a refusal: a backlog does not go away in two seconds.
RETRY_AFTER_SECONDS = 30


class Backlog:
    """Measures the backlog, in one thread at a time; calls in between use the last result."""

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        process_reports: ProcessReports,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._process_reports = process_reports
        self._database_disk = DatabaseDisk(catalog, settings.mongo_database, clock)
        self._clock = clock
        self._lock = threading.Lock()
        self._fault: tuple[str, str] | None = None
        self._fresh_until = float("-inf")

    def check(self) -> None:
        """Raise Busy if a limit is reached."""
        with self._lock:
            started = self._clock()
            if started >= self._fresh_until:
                self._fault = self._measure()
                spent = self._clock() - started
                self._fresh_until = started + max(FRESH_SECONDS, spent / MEASURED_SHARE)
            fault = self._fault
        if fault is not None:
            reason, log_detail = fault
            raise Busy(reason, RETRY_AFTER_SECONDS, log_detail=log_detail)

    def _measure(self) -> tuple[str, str] | None:
        """Return which limit is reached, in words for clients and for the log, or None."""
        chosen = self._settings
        if chosen.disk_free_bytes:
            where = self._short_disk(chosen.disk_free_bytes)
            if where is not None:
                return "too little disk is free", where
        if chosen.backlog_images or chosen.backlog_bytes:
            held = self._catalog.tasks.backlog()
            if chosen.backlog_images and held.images >= chosen.backlog_images:
                return "too many images wait", str(held.images)
            if chosen.backlog_bytes and held.payload_bytes >= chosen.backlog_bytes:
                return "too many bytes of Base64 wait", str(held.payload_bytes)
        if chosen.backlog_seconds:
            oldest = self._catalog.chunks.oldest_sent()
            age = 0.0 if oldest is None else (now() - oldest).total_seconds()
            if age >= chosen.backlog_seconds:
                return "the images before yours wait for too long", f"{age:.0f} s"
        return None

    def _short_disk(self, limit: int) -> str | None:
        """Return where less than `limit` bytes are free, or None."""
        if free_bytes(self._settings.data_dir) < limit:
            return "this machine"
        try:
            least = least_free(self._process_reports.latest())
        except RedisError:
            # Work is taken without Redis too; then only this machine's disk is checked.
            least = None
        if least is not None and least.disk_free_bytes < limit:
            return least.process
        free = self._database_disk.free_bytes()
        return "MongoDB" if free is not None and free < limit else None


class DatabaseDisk:
    """Free disk of the database, which may be on a machine without a process of ours."""

    def __init__(self, catalog: Catalog, name: str, clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self._name = name
        self._clock = clock
        self._is_embedded: bool | None = None
        self._measured_at = float("-inf")
        self._free: int | None = None

    def free_bytes(self) -> int | None:
        """Return the free bytes, or None if the server does not report them."""
        if self._clock() - self._measured_at >= DATABASE_DISK_SECONDS:
            self._free = self._measure()
            self._measured_at = self._clock()
        return self._free

    def _measure(self) -> int | None:
        client = self._catalog.client
        try:
            if self._is_embedded is None:
                # The embedded server, which reports no version, reads every row for dbStats. It is
                # on the disk of a process that reports.
                self._is_embedded = "version" not in client.server_info()
            if self._is_embedded:
                return None
            told = client[self._name].command("dbStats")
        except OperationFailure:
            return None  # its user may not ask
        total, used = told.get("fsTotalSize"), told.get("fsUsedSize")
        return int(total - used) if total and used is not None else None
