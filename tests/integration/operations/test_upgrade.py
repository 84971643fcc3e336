"""An upgrade of a large catalogue: indexes that take long, and migrations that are cut off."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import NetworkTimeout
from structlog.testing import capture_logs

from catalog.database import connection, lease
from catalog.database.connection import Row, connect, databases
from catalog.schema import version as schema
from catalog.schema.indexes import INDEXES, create_indexes, missing_indexes
from catalog.schema.version import SCHEMA, Schema, bring_up_to_date
from tests.integration.operations.cut_writes import Cut, mortal_client
from tests.integration.operations.slow_builds import slow_builds
from tests.servers import Servers

LAST = INDEXES[-1]
LAST_NAME = f"{LAST.fields[0]}_1"


@pytest.fixture
def name() -> str:
    return f"upgrade_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def rows(client: MongoClient[Row], name: str) -> Database[Row]:
    return databases(client, name)[0]


def test_an_index_that_takes_longer_than_any_command_may_is_built_in_the_first_try(
    servers: Servers, client: MongoClient[Row], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.6)
    with slow_builds(servers.mongo_url, LAST_NAME, 1.2) as way:
        with connect(way.url, 5) as impatient, pytest.raises(NetworkTimeout):
            impatient[f"{name}_other"][LAST.table].create_index(LAST.fields[0])
        bring_up_to_date(way.url, name, 5)
    assert missing_indexes(client, name) == []
    assert Schema(*databases(client, name)).current() == SCHEMA


def test_while_an_index_is_built_others_wait_and_say_for_which_though_it_is_listed(
    servers: Servers, client: MongoClient[Row], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE", timedelta(seconds=1))
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.1)
    monkeypatch.setattr(schema, "TELL_SECONDS", 0.1)
    with slow_builds(servers.mongo_url, LAST_NAME, 2) as way:
        builder = threading.Thread(target=bring_up_to_date, args=(way.url, name, 5), daemon=True)
        builder.start()
        assert way.is_held.wait(20)
        assert missing_indexes(client, name) == []
        with capture_logs() as lines:
            bring_up_to_date(servers.mongo_url, name, 5)
        assert way.is_answered.is_set()
        builder.join(20)
    told = [line["work"] for line in lines if line["event"] == "waiting for another process"]
    assert told
    assert set(told) == {f"builds index {LAST}"}


def test_indexes_whose_builder_died_are_waited_for_though_they_are_listed(
    servers: Servers, client: MongoClient[Row], name: str, rows: Database[Row]
) -> None:
    create_indexes(client, name)
    rows["schema"].insert_many(
        [
            {"_id": "schema", "version": SCHEMA},
            {"_id": "lock", "holder": "dead", "work": f"builds index {LAST}", "until": 5},
        ]
    )
    with slow_builds(servers.mongo_url, LAST_NAME, 0) as way:
        bring_up_to_date(way.url, name, 5)
        assert way.builds == len(INDEXES)
        bring_up_to_date(way.url, name, 5)
        assert way.builds == len(INDEXES)


def test_an_index_that_was_dropped_is_built_by_the_next_start(
    client: MongoClient[Row], name: str, rows: Database[Row]
) -> None:
    Schema(*databases(client, name)).bring_up_to_date()
    rows[LAST.table].drop_index([(LAST.fields[0], 1)])
    assert missing_indexes(client, name) == [str(LAST)]
    Schema(*databases(client, name)).bring_up_to_date()
    assert missing_indexes(client, name) == []


def old_rows(rows: Database[Row]) -> None:
    """Write rows as version 1 had them."""
    rows["schema"].insert_one({"_id": "schema", "version": 1})
    image = {"deleted_at": None, "product_serial": 5, "outcome": "SUCCEEDED"}
    rows["products"].insert_many(
        [{"_id": f"1f/{n}", "serial": n, "image_count": 9} for n in (5, 6)]
    )
    rows["images"].insert_many([{"_id": n, **image} for n in (1, 2)])
    rows["tasks"].insert_many(
        [{"_id": f"u/c/158141751{n}.274598", "finished_at": n or None} for n in (0, 8)]
    )
    rows["chunks"].insert_many(
        [
            {"_id": n, "state": n, "stage": "fetch", "sent_at": 5, "due_at": 6}
            for n in ("sent", "done", "waiting", "running")
        ]
    )
    rows["collections"].insert_one({"_id": "u/c", "generation": "1f", "image_count": 9})


def all_rows(rows: Database[Row]) -> dict[str, list[Row]]:
    """All rows by table; a time of now is only told to be one."""
    return {
        table: sorted(
            (
                {k: "now" if isinstance(v, int) and v > 10**12 else v for k, v in row.items()}
                for row in rows[table].find()
            ),
            key=str,
        )
        for table in rows.list_collection_names()
    }


def test_migrations_that_are_cut_off_at_any_write_go_on_to_the_same_rows(
    servers: Servers, client: MongoClient[Row], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE", timedelta(seconds=0.01))
    monkeypatch.setattr(schema, "WAIT_SECONDS", 0.01)
    whole = databases(client, f"{name}_whole")
    old_rows(whole[0])
    Schema(*whole).bring_up_to_date()
    with mortal_client(servers.mongo_url) as (mortal, cutter):
        old_rows(databases(mortal, name)[0])
        tries = 0
        while True:
            tries += 1
            # One write more of the migration than the try before, which each begins with a lease.
            cutter.left = 4 + tries
            try:
                Schema(*databases(mortal, name)).bring_up_to_date()
                break
            except Cut:
                cutter.left = 10**6
    assert tries > 10
    assert all_rows(databases(client, name)[0]) == all_rows(whole[0])
