"""The clock of rows is set by the server itself, before the first row is written."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from catalog.database import connection
from catalog.database.connection import connect, now, time_of
from catalog.database.database_time import DatabaseTime
from catalog.store import Catalog
from config.settings import settings

BEHIND = 25.0


@pytest.fixture
def database_time(monkeypatch: pytest.MonkeyPatch) -> DatabaseTime:
    """A clock of rows that was never set, on a machine whose wall clock is behind."""
    fresh = DatabaseTime(wall=lambda: int((time.time() - BEHIND) * 1_000_000))
    monkeypatch.setattr(connection, "DATABASE_TIME", fresh)
    return fresh


@pytest.fixture
def client(catalog: Catalog, database_time: DatabaseTime) -> Iterator[MongoClient[Any]]:
    with connect(settings().mongo_url.get_secret_value(), 5) as connected:
        yield connected


def seconds_off() -> float:
    return abs(now().timestamp() - time.time())


def test_the_first_operation_of_a_client_finds_the_clock_set(
    catalog: Catalog, database_time: DatabaseTime
) -> None:
    # Before there is a client, whose monitor sets the clock as well.
    assert seconds_off() > BEHIND - 1
    with connect(settings().mongo_url.get_secret_value(), 5) as client:
        client.admin.command("ping")
    assert seconds_off() < 10
    assert database_time.offset_seconds() == pytest.approx(-BEHIND, abs=10)


def test_a_child_that_was_forked_goes_on_with_what_its_parent_measured(
    client: MongoClient[Any], database_time: DatabaseTime
) -> None:
    client.admin.command("ping")
    client.close()
    child = os.fork()
    if child == 0:
        os._exit(0 if seconds_off() < 10 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_who_asks_has_the_time_of_this_very_moment(
    client: MongoClient[Any], database_time: DatabaseTime
) -> None:
    client.admin.command("ping")
    database_time.measure(now().replace(year=2020), database_time.steady())
    assert now().year == 2020
    assert abs(time_of(client).timestamp() - time.time()) < 10
    assert seconds_off() < 10
