"""The version of the rows: written, raised once, and never worked on by older code."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from catalog.database import lease
from catalog.database.connection import Row, connect, databases, now, stamp
from catalog.schema import version as schema
from catalog.schema.migrations import MIGRATIONS
from catalog.schema.version import (
    SCHEMA,
    MissingMigrationError,
    Schema,
    SchemaTooNewError,
    await_schema,
)
from cli.processes import ROOT
from config.embedded import free_port
from config.refusal import REFUSED
from tests.integration.operations.programs import environment, run
from tests.servers import Servers


@pytest.fixture
def name() -> str:
    return f"schema_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def rows(client: MongoClient[Row], name: str) -> Database[Row]:
    return databases(client, name)[0]


def version_of(rows: Database[Row]) -> int:
    row = rows["schema"].find_one({"_id": "schema"})
    assert row is not None
    found: int = row["version"]
    return found


def test_a_fresh_database_gets_the_version_of_the_code(
    client: MongoClient[Row], name: str, rows: Database[Row]
) -> None:
    found = Schema(*databases(client, name))
    assert found.current() is None
    found.bring_up_to_date()
    assert found.current() == version_of(rows) == SCHEMA
    found.bring_up_to_date()
    assert rows["schema"].count_documents({}) == 1


def test_migrations_run_in_their_order_and_leave_no_lock(
    client: MongoClient[Row], name: str, rows: Database[Row]
) -> None:
    rows["schema"].insert_one({"_id": "schema", "version": 1})
    rows["things"].insert_one({"_id": 1, "old": "x"})
    seen: list[int] = []

    def second(here: Database[Row], blobs: Database[Row]) -> None:
        assert blobs.name == f"{name}_blobs"
        here["things"].update_one({"_id": 1}, {"$set": {"new": "x"}})
        seen.append(version_of(here))

    def third(here: Database[Row], _: Database[Row]) -> None:
        row = here["things"].find_one({"_id": 1})
        assert row is not None
        assert row["new"] == "x"
        seen.append(version_of(here))

    Schema(*databases(client, name), 3, {3: third, 2: second}).bring_up_to_date()
    assert seen == [1, 2]
    assert version_of(rows) == 3
    assert [row["_id"] for row in rows["schema"].find()] == ["schema"]


def test_rows_of_version_1_get_places_and_their_times(
    client: MongoClient[Row], name: str, rows: Database[Row]
) -> None:
    rows["schema"].insert_one({"_id": "schema", "version": 1})
    rows["products"].insert_one({"_id": "1f/p", "serial": 5, "image_count": 9})
    ended = {"deleted_at": None, "product_serial": 5}
    rows["images"].insert_many(
        [
            {"_id": 3, "outcome": "SUCCEEDED", **ended},
            {"_id": 2, "outcome": None, **ended},
            {"_id": 4, "outcome": "DUPLICATE_IMAGE", **ended},
            {"_id": 1, "outcome": "SUCCEEDED", "deleted_at": 7, "product_serial": 5},
        ]
    )
    rows["tasks"].insert_many(
        [{"_id": "open", "finished_at": None}, {"_id": "ended", "finished_at": 8}]
    )
    rows["chunks"].insert_many(
        [{"_id": n, "state": n, "sent_at": 5} for n in ("sent", "done", "waiting", "running")]
    )
    rows["collections"].insert_one({"_id": "u/c", "image_count": 9})
    Schema(*databases(client, name), 2).bring_up_to_date()
    assert version_of(rows) == 2
    assert rows["products"].find_one() == {"_id": "1f/p", "serial": 5, "places": [2, 3]}
    tasks = {row["_id"]: row for row in rows["tasks"].find()}
    assert tasks["open"]["open_since"] > 0
    assert "remove_at" not in tasks["open"]
    assert tasks["ended"]["remove_at"] > stamp(now())
    assert "open_since" not in tasks["ended"]
    assert {row["_id"] for row in rows["chunks"].find() if "sent_at" in row} == {"sent"}
    assert {row["_id"] for row in rows["images"].find() if "remove_at" in row} == {1}
    found = rows["collections"].find_one()
    assert found is not None
    assert (found["changes"], found["recount_at"] <= stamp(now())) == (0, True)


def test_chunks_of_version_3_get_the_time_that_belongs_to_their_state(
    client: MongoClient[Row], name: str, rows: Database[Row]
) -> None:
    rows["schema"].insert_one({"_id": "schema", "version": 3})
    rows["chunks"].create_index([("due_at", 1)], sparse=True)
    rows["chunks"].create_index([("sent_at", 1)], sparse=True)
    old: list[Row] = [
        {"_id": "running", "state": "running", "stage": "fetch", "due_at": 7},
        {"_id": "waiting", "state": "waiting", "stage": "vision", "due_at": 8},
        {"_id": "unsettled", "state": "done", "stage": "index", "due_at": 9},
        {"_id": "settled", "state": "done", "stage": "index"},
        *(
            {"_id": stage, "state": "sent", "stage": stage, "sent_at": 5, "due_at": 6}
            for stage in ("fetch", "vision", "index")
        ),
    ]
    rows["chunks"].insert_many(old)
    Schema(*databases(client, name), 4).bring_up_to_date()
    times = {
        row["_id"]: {k: v for k, v in row.items() if k not in ("_id", "state", "stage")}
        for row in rows["chunks"].find()
    }
    assert times == {
        "running": {"lease_until": 7},
        "waiting": {"start_at": 8},
        "unsettled": {"settle_at": 9},
        "settled": {},
        "fetch": {"fetch_sent_at": 5},
        "vision": {"vision_sent_at": 5},
        "index": {"index_sent_at": 5},
    }
    keys = [index["key"] for index in rows["chunks"].index_information().values()]
    assert [key for key in keys if key[0][0] in ("due_at", "sent_at")] == []
    again = list(rows["chunks"].find())
    MIGRATIONS[4](*databases(client, name))
    assert list(rows["chunks"].find()) == again, "after a kill it runs again"


def test_tasks_of_version_4_are_listed_by_their_state(
    client: MongoClient[Row], name: str, rows: Database[Row]
) -> None:
    rows["schema"].insert_one({"_id": "schema", "version": 4})
    tasks = [f"u/c/158141751{n}.274598" for n in range(3)]
    rows["tasks"].insert_many(
        [
            {"_id": tasks[0], "finished_at": None},
            {"_id": tasks[1], "finished_at": 8},
            {"_id": tasks[2], "finished_at": None, "submission_at": 8},
        ]
    )
    Schema(*databases(client, name), 5).bring_up_to_date()
    found = {row["_id"]: row for row in rows["tasks"].find()}
    assert found[tasks[0]]["state_listing"] == "u/open/1581417510274598"
    assert found[tasks[0]]["state_task_id"] == "u/c/open/1581417510.274598"
    assert found[tasks[1]]["state_listing"] == "u/finished/1581417511274598"
    assert found[tasks[1]]["state_task_id"] == "u/c/finished/1581417511.274598"
    assert "state_listing" not in found[tasks[2]], "it is no task yet"


def test_a_migration_that_fails_leaves_the_version_before_it_and_can_be_tried_again(
    client: MongoClient[Row], name: str, rows: Database[Row]
) -> None:
    rows["schema"].insert_one({"_id": "schema", "version": 1})

    def fails(*_: Database[Row]) -> None:
        raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        Schema(*databases(client, name), 3, {2: lambda *_: None, 3: fails}).bring_up_to_date()
    assert version_of(rows) == 2
    Schema(*databases(client, name), 3, {3: lambda *_: None}).bring_up_to_date()
    assert version_of(rows) == 3


def test_rows_that_are_newer_or_too_old_are_refused(
    client: MongoClient[Row], name: str, rows: Database[Row]
) -> None:
    rows["schema"].insert_one({"_id": "schema", "version": 2})
    with pytest.raises(SchemaTooNewError, match="version 2"):
        Schema(*databases(client, name), 1, {}).bring_up_to_date()
    with pytest.raises(MissingMigrationError, match="from version 2 to 3"):
        Schema(*databases(client, name), 4, {4: lambda *_: None}).bring_up_to_date()
    assert version_of(rows) == 2


def test_the_lock_of_a_process_that_died_is_taken_over_and_not_before(
    client: MongoClient[Row], name: str, rows: Database[Row]
) -> None:
    until = now() + timedelta(seconds=1)
    rows["schema"].insert_many(
        [
            {"_id": "schema", "version": 1},
            {"_id": "lock", "holder": "dead", "until": stamp(until)},
        ]
    )
    Schema(*databases(client, name), 2, {2: lambda *_: None}).bring_up_to_date()
    assert now() >= until
    assert version_of(rows) == 2


def test_a_long_migration_keeps_its_lock(
    client: MongoClient[Row], name: str, rows: Database[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE", timedelta(seconds=0.6))
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.1)
    rows["schema"].insert_one({"_id": "schema", "version": 1})
    begun: list[float] = []

    def slow(*_: Database[Row]) -> None:
        begun.append(time.monotonic())
        time.sleep(2)

    threads = [
        threading.Thread(
            target=Schema(*databases(client, name), 2, {2: slow}).bring_up_to_date, daemon=True
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(begun) == 1
    assert version_of(rows) == 2


PROGRAM = """
import os, sys, time
from catalog.database.connection import connect, databases
from catalog.schema.version import Schema

def slow(rows, _):
    rows["runs"].insert_one({"process": os.getpid()})
    time.sleep(0.5)

with connect(sys.argv[1], 5) as client:
    Schema(*databases(client, sys.argv[2]), int(sys.argv[3]), {2: slow}).bring_up_to_date()
    print(Schema(*databases(client, sys.argv[2])).current())
"""


@pytest.mark.parametrize("version", [1, 2])
def test_processes_that_start_at_once_write_or_migrate_once(
    servers: Servers, name: str, rows: Database[Row], tmp_path: Path, version: int
) -> None:
    if version == 2:
        rows["schema"].insert_one({"_id": "schema", "version": 1})
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, servers.mongo_url, name, str(version)],
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=60)[0].split()[-1] for process in processes]
    assert outputs == [str(version)] * 4
    assert rows["runs"].count_documents({}) == version - 1


@pytest.mark.parametrize("kind", ["api", "maintenance", "vision", "index"])
def test_a_program_refuses_rows_of_a_newer_version_with_one_line(
    servers: Servers, name: str, rows: Database[Row], tmp_path: Path, kind: str
) -> None:
    rows["schema"].insert_one({"_id": "schema", "version": SCHEMA + 1})
    ended = run(
        kind,
        environment(
            tmp_path,
            mongo_url=servers.mongo_url,
            redis_url=servers.redis_url,
            mongo_database=name,
            port=str(free_port()),
            log_level="WARNING",
        ),
    )
    assert ended.returncode == REFUSED
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith(f"snapsku: database {name}: the rows have version {SCHEMA + 1}")
    assert version_of(rows) == SCHEMA + 1
    assert rows.list_collection_names() == ["schema"]


def test_a_start_waits_for_a_database_that_is_not_there_yet(
    servers: Servers, name: str, rows: Database[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = ["mongodb://127.0.0.1:1/", servers.mongo_url]
    monkeypatch.setattr(
        schema, "connect_patiently", lambda _, seconds: connect(urls.pop(0), seconds)
    )
    await_schema("", name, 0.2)
    assert urls == []
    assert version_of(rows) == SCHEMA
