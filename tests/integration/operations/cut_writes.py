"""A client whose process ends after a number of writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.monitoring import CommandListener

from catalog.database.connection import Row


class Cut(BaseException):
    """The process ends here; a BaseException, since nothing may clean up after it."""


class Cutter(CommandListener):
    """Lets a number of writes through, and then ends the process."""

    def __init__(self) -> None:
        self.left = 10**6
        self.inserted = 0

    def started(self, event: Any) -> None:
        if event.command_name in ("insert", "update", "delete"):
            self.left -= 1
            if self.left < 0:
                raise Cut(event.command_name)
            self.inserted += len(event.command.get("documents", ()))

    def succeeded(self, event: Any) -> None: ...
    def failed(self, event: Any) -> None: ...


@contextmanager
def mortal_client(mongo_url: str) -> Iterator[tuple[MongoClient[Row], Cutter]]:
    """Return a client, and what ends the process once so many writes are through."""
    cutter = Cutter()
    with MongoClient[Row](mongo_url, event_listeners=[cutter]) as client:
        yield client, cutter
