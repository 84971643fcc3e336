"""Servers for a command: those of a running stack, or embedded ones while the command runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pymongo import MongoClient

from catalog.database.connection import Row, connect
from catalog.schema.version import bring_up_to_date
from catalog.store import Catalog, catalog_of
from config.data_directory import DataDirectoryInUseError
from config.embedded import embedded_servers
from config.settings import Settings, read_settings, with_embedded_servers


@contextmanager
def running_servers(settings: Settings, *, alone: bool = False) -> Iterator[Settings]:
    """Yield settings with the URLs of running servers, embedded ones started if need be.

    `alone` means that no stack may run on the data directory. Raises DataDirectoryInUseError if one
    does, or if the stack that does has no embedded MongoDB to share, and SettingsError if a server
    can't be run.
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
    """Yield the settings and their catalogue, upgraded, with servers started if none run.

    Raises SettingsError, and what `upgraded` raises.
    """
    with running_servers(read_settings()) as found, upgraded(found) as client:
        yield found, catalog_of(found, client)


@contextmanager
def connected(
    settings: Settings, opens: Callable[[str, float], MongoClient[Row]] = connect
) -> Iterator[MongoClient[Row]]:
    """Yield a client of the MongoDB that the settings name; it is closed in the end."""
    with opens(settings.mongo_url.get_secret_value(), settings.mongo_timeout_seconds) as client:
        yield client


@contextmanager
def upgraded(settings: Settings) -> Iterator[MongoClient[Row]]:
    """Bring the catalogue to the current schema and yield a client of it, closed in the end.

    Raises what `catalog.schema.version.bring_up_to_date` raises.
    """
    bring_up_to_date(
        settings.mongo_url.get_secret_value(),
        settings.mongo_database,
        settings.mongo_timeout_seconds,
    )
    with connected(settings) as client:
        yield client
