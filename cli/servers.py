"""Servers for a command: those of the stack that runs, or its own for its time.

Knows nothing of what a command does with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pymongo import MongoClient

from catalog.database.connection import Row, connect
from catalog.schema.version import bring_up_to_date
from catalog.store import Catalog, catalog_of
from config.embedded import DataDirectoryInUseError, embedded_servers
from config.settings import Settings, read_settings, with_embedded_servers


@contextmanager
def running_servers(settings: Settings, *, alone: bool = False) -> Iterator[Settings]:
    """Return settings with servers that run: those of the stack, or our own for this time.

    `alone` says that no stack may run on the data directory.
    """
    if settings.mongo_url.get_secret_value() and not alone:
        yield settings
        return
    try:
        with embedded_servers(settings):
            yield with_embedded_servers(settings)
    except DataDirectoryInUseError:
        if alone:
            raise
        found = with_embedded_servers(settings)
        if not found.mongo_url.get_secret_value():
            raise
        yield found


@contextmanager
def opened_catalog() -> Iterator[tuple[Settings, Catalog]]:
    """Return the settings and their catalogue, brought up to date and started if need be.

    Raises what `upgraded` raises, and SettingsError.
    """
    with running_servers(read_settings()) as found, upgraded(found) as client:
        yield found, catalog_of(found, client)


@contextmanager
def connected(
    settings: Settings, opens: Callable[[str, float], MongoClient[Row]] = connect
) -> Iterator[MongoClient[Row]]:
    """Return a client of the MongoDB that settings name, closed in the end."""
    with opens(settings.mongo_url.get_secret_value(), settings.mongo_timeout_seconds) as client:
        yield client


@contextmanager
def upgraded(settings: Settings) -> Iterator[MongoClient[Row]]:
    """Bring the catalogue up to date, and return a client of it, closed in the end.

    Raises what `catalog.schema.version.bring_up_to_date` raises.
    """
    bring_up_to_date(
        settings.mongo_url.get_secret_value(),
        settings.mongo_database,
        settings.mongo_timeout_seconds,
    )
    with connected(settings) as client:
        yield client
