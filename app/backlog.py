"""Whether more work may be taken: how much waits, how long, and what room is left.

Knows nothing of HTTP, queues or workers: what waits is what the rows say.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from app.answer import Busy
from catalog.connection import now
from catalog.store import Catalog
from config.settings import Settings

#: A measurement is used for so long, and no more than this share of the time is measured.
FRESH_SECONDS = 1.0
MEASURED_SHARE = 0.05

#: What a client is told to wait: a backlog does not go away in two seconds.
RETRY_AFTER_SECONDS = 30


class Backlog:
    """Looks at the rows now and then, for one thread at a time; the others use what it saw."""

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._fault: str | None = None
        self._fresh_until = float("-inf")

    def check(self) -> None:
        """Pass if more may be taken; raises Busy."""
        with self._lock:
            started = self._clock()
            if started >= self._fresh_until:
                self._fault = self._measure()
                spent = self._clock() - started
                self._fresh_until = started + max(FRESH_SECONDS, spent / MEASURED_SHARE)
            fault = self._fault
        if fault is not None:
            raise Busy(fault, RETRY_AFTER_SECONDS)

    def _measure(self) -> str | None:
        """Say which limit is reached, None if none is."""
        chosen = self._settings
        if chosen.disk_free_bytes and _free_bytes(chosen.data_dir) < chosen.disk_free_bytes:
            return "too little disk is free"
        if chosen.backlog_images or chosen.backlog_bytes:
            held = self._catalog.tasks.backlog()
            if chosen.backlog_images and held.images >= chosen.backlog_images:
                return f"{held.images} images wait"
            if chosen.backlog_bytes and held.payload_bytes >= chosen.backlog_bytes:
                return f"{held.payload_bytes} bytes of Base64 wait"
        if chosen.backlog_seconds:
            oldest = self._catalog.chunks.oldest_sent()
            age = 0.0 if oldest is None else (now() - oldest).total_seconds()
            if age >= chosen.backlog_seconds:
                return f"the oldest message has waited for {age:.0f} s"
        return None


def _free_bytes(folder: Path) -> int:
    # The folder is made by the workers; until then its parents tell of the same disk.
    for place in (folder, *folder.resolve().parents):
        if place.exists():
            found = os.statvfs(place)
            return found.f_bavail * found.f_frsize
    raise FileNotFoundError(folder)
