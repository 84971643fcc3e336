"""`snapsku doctor` against real servers, with parts of the service there and not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import redis

from broker.queues import QUEUES
from broker.reports.heartbeats import Consumption
from broker.reports.index_reports import IndexReports
from broker.reports.process_reports import ProcessReport, ProcessReports
from broker.reports.room_notice import RoomNotice
from broker.staged_bytes import StagedBytes
from catalog.database.connection import connect, databases
from catalog.rows.accounts import NewKeys
from catalog.rows.models import ModelRow
from catalog.schema.indexes import INDEXES, create_indexes
from catalog.schema.version import SCHEMA, Schema
from cli.processes import ROOT
from config.embedded import free_port
from identity.vault import Vault
from tests.catalogues import default_catalog
from tests.integration.operations.programs import environment
from tests.reports import INDEX_REPORT
from tests.servers import Servers


@dataclass(frozen=True)
class Told:
    """What the command wrote, by subject, with what it begins with."""

    code: int
    lines: dict[str, str]

    def is_ok(self, subject: str) -> bool:
        return self.lines[subject].startswith("OK")


Doctor = Callable[..., Told]


@pytest.fixture
def database() -> str:
    return f"doctor_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def doctor(servers: Servers, database: str, tmp_path: Path) -> Doctor:
    defaults = {
        "mongo_url": servers.mongo_url,
        "redis_url": servers.redis_url,
        "mongo_database": database,
        "mongo_timeout_seconds": "1",
        "redis_timeout_seconds": "1",
        "port": str(free_port()),
        "flower_port": str(free_port()),
    }

    def told(*arguments: str, **settings: str) -> Told:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "doctor", *arguments],
            cwd=ROOT,
            env=environment(tmp_path, **(defaults | settings)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stderr == ""
        lines = {}
        for line in done.stdout.splitlines():
            state, _, rest = line.partition("  ")
            subject, _, text = rest.strip().partition(": ")
            lines[subject] = f"{state.strip()} {text}"
            assert state.strip() in ("OK", "WRONG"), line
        return Told(done.returncode, lines)

    return told


@pytest.fixture
def quiet_queues(servers: Servers) -> redis.Redis:
    """The Redis, where nothing says that a queue is consumed."""
    client = redis.Redis.from_url(servers.redis_url)
    client.delete(*(f"consumed:{queue}" for queue in QUEUES), *QUEUES)
    return client


def test_servers_that_run_are_well_and_what_was_never_started_is_told(
    doctor: Doctor, quiet_queues: redis.Redis
) -> None:
    told = doctor()
    assert told.code == 1
    for subject in ("settings", "data directory", "downloads", "mongodb", "redis"):
        assert told.is_ok(subject), told.lines[subject]
    assert "writes and reads" in told.lines["mongodb"]
    assert "noeviction, appendonly" in told.lines["redis"]
    for subject in ("indexes", "schema", "model", "index owner", "api", "flower"):
        assert not told.is_ok(subject)
        assert "; start" in told.lines[subject] or " start " in told.lines[subject]
    for queue in QUEUES:
        assert "last consumed never" in told.lines[f"queue {queue}"]
    quiet_queues.close()


def test_what_is_there_is_told_and_the_rest_can_be_left_out(
    doctor: Doctor,
    servers: Servers,
    database: str,
    quiet_queues: redis.Redis,
) -> None:
    with connect(servers.mongo_url, 5) as client:
        create_indexes(client, database)
        Schema(*databases(client, database)).bring_up_to_date()
        catalog = default_catalog(client, database)
        catalog.models.adopt(ModelRow("model-7", 1280))
        assert catalog.ownership.take("process 7 on there", "/data/index", "lock") is not None
    for queue in QUEUES:
        Consumption(quiet_queues, 30.0).note(queue)
    quiet_queues.close()
    told = doctor("--skip", "api", "--skip", "flower", fetch_allow="10.0.0.0/8")
    assert told.code == 0, told.lines
    assert {"api", "flower"} & told.lines.keys() == set()
    assert all(told.is_ok(subject) for subject in told.lines)
    assert told.lines["schema"] == f"OK version {SCHEMA}"
    assert told.lines["model"] == "OK model-7, 1280 numbers"
    assert "10.0.0.0/8" in told.lines["downloads"]
    assert told.lines["index owner"].startswith("OK process 7 on there, with /data/index, epoch ")
    assert told.lines["queue vision"].startswith("OK 0 waiting, consumed ")


def test_a_missing_index_and_a_newer_schema_are_named(
    doctor: Doctor, servers: Servers, database: str
) -> None:
    with connect(servers.mongo_url, 5) as client:
        create_indexes(client, database)
        dropped = INDEXES[0]
        for name, what in client[database][dropped.table].index_information().items():
            if what["key"] == [(field, 1) for field in dropped.fields]:
                client[database][dropped.table].drop_index(name)
        client[database]["schema"].insert_one({"_id": "schema", "version": SCHEMA + 1})
    told = doctor()
    assert told.lines["indexes"].startswith(f"WRONG missing: {dropped};")
    assert told.lines["schema"].startswith(f"WRONG rows of version {SCHEMA + 1}")


def test_servers_that_are_down_take_one_line_each(doctor: Doctor) -> None:
    told = doctor(
        mongo_url="mongodb://u:hunter2@127.0.0.1:1/", redis_url="redis://:hunter3@127.0.0.1:1/0"
    )
    assert told.code == 1
    assert told.lines["mongodb"].startswith("WRONG")
    assert "start it, or check SNAPSKU_MONGO_URL" in told.lines["mongodb"]
    assert "start it, or check SNAPSKU_REDIS_URL" in told.lines["redis"]
    assert {"indexes", "schema", "model", "queue fetch"} & told.lines.keys() == set()
    assert "hunter" not in str(told.lines)


def test_without_a_running_stack_embedded_servers_are_not_there(doctor: Doctor) -> None:
    told = doctor(mongo_url="", redis_url="")
    assert told.code == 1
    for subject in ("mongodb", "redis"):
        assert "start `snapsku up`" in told.lines[subject]


@pytest.mark.skipif(
    bool(os.environ.get("TEST_MONGO_URL") or os.environ.get("TEST_REDIS_URL")),
    reason="the servers of this run are not embedded",
)
def test_embedded_servers_are_found_by_the_data_directory_of_their_stack(
    doctor: Doctor, servers: Servers
) -> None:
    told = doctor(mongo_url="", redis_url="", data_dir=str(servers.data_dir))
    assert told.is_ok("mongodb")
    assert told.is_ok("redis")
    assert told.lines["database"].startswith("OK embedded, for trials")


def test_a_bad_setting_is_the_only_line(doctor: Doctor) -> None:
    told = doctor(api_threads="1")
    assert told.code == 1
    assert list(told.lines) == ["settings"]
    assert "SNAPSKU_API_THREADS" in told.lines["settings"]


def test_a_redis_that_evicts_is_told(doctor: Doctor, servers: Servers) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        before = client.config_get("maxmemory-policy")["maxmemory-policy"]
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            told = doctor()
        finally:
            client.config_set("maxmemory-policy", before)
    assert told.lines["redis"].startswith("WRONG")
    assert "allkeys-lru" in told.lines["redis"]


def test_a_redis_that_takes_no_writes_is_told(doctor: Doctor, servers: Servers) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.config_set("maxmemory", 1)
        try:
            told = doctor()
        finally:
            client.config_set("maxmemory", 0)
    assert told.lines["redis"].startswith("WRONG")
    assert "takes no writes: out of memory, maxmemory is reached" in told.lines["redis"]


def test_fetching_that_waits_for_room_is_told_with_how_long(
    doctor: Doctor, servers: Servers, database: str
) -> None:
    with connect(servers.mongo_url, 5) as client, redis.Redis.from_url(servers.redis_url) as r:
        catalogue = default_catalog(client, database).identity.get()
        staged = StagedBytes(r, 100, 60, catalogue)
        notice = RoomNotice(r)
        notice.note()
        try:
            assert doctor(staged_bytes="100").is_ok("room for fetched bytes")
            staged.put({1: b"x" * 100})
            notice.note()
            told = doctor(staged_bytes="100").lines["room for fetched bytes"]
        finally:
            staged.remove([1])
            r.delete("room:latest", "room:since")
    assert re.search(r"^WRONG .* fetching has waited for \d+ s; look at the vision workers", told)


def test_images_with_a_bad_vector_are_named(doctor: Doctor, servers: Servers) -> None:
    report = replace(INDEX_REPORT, bad_vectors=2, bad_images="u/shop/a, u/shop/b")
    with redis.Redis.from_url(servers.redis_url) as client:
        try:
            IndexReports(client, 30.0).publish(report)
            told = doctor().lines["vectors"]
        finally:
            client.delete("index:report")
    assert told.startswith("WRONG 2 can't be searched, of u/shop/a, u/shop/b; delete")


def test_weights_that_do_not_load_are_told(doctor: Doctor) -> None:
    told = doctor("--model", embedder="no-such-model")
    assert told.code == 1
    assert told.lines["weights"].startswith("WRONG")
    assert "SNAPSKU_EMBEDDER" in told.lines["weights"]


def test_a_data_directory_that_is_not_there_is_told(doctor: Doctor, tmp_path: Path) -> None:
    told = doctor(data_dir=str(tmp_path / "nowhere"))
    assert told.lines["data directory"].startswith("WRONG")
    assert "does not exist" in told.lines["data directory"]


def test_users_whose_secrets_cannot_be_read_are_told(
    doctor: Doctor, servers: Servers, database: str, tmp_path: Path
) -> None:
    assert doctor().lines["users"].startswith("OK none")
    with connect(servers.mongo_url, 5) as client:
        accounts = default_catalog(client, database).accounts
        sealed = Vault("", tmp_path).seal("AK", "a secret")
        assert accounts.add("shop", NewKeys("AK", sealed, "hash"), None, None)
        assert doctor().lines["users"] == "OK 1, whose secrets can be read"
        told = doctor(secret_key="x" * 32).lines["users"]
        assert told.startswith("WRONG the secret of AK can't be read: SNAPSKU_SECRET_KEY")
        client[database]["access_keys"].update_one({"_id": "AK"}, {"$set": {"user": 7}})
        assert doctor().lines["users"] == "WRONG the keys 'AK' are malformed"


def test_every_process_that_runs_is_told_with_its_clock_and_its_disk(
    doctor: Doctor, quiet_queues: redis.Redis
) -> None:
    reports = ProcessReports(quiet_queues)
    reports.publish(ProcessReport("fetch process 1 on a", 0.04, 3 * 2**30))
    reports.publish(ProcessReport("vision process 2 on b", -25.0, 2**29))
    told = doctor()
    lines = told.lines
    assert lines["fetch process 1 on a"].startswith("OK clock +0.0 s off, 3.0 GiB free, told ")
    assert told.is_ok("vision process 2 on b"), "no row goes by it"
    assert "clock -25.0 s off, 0.5 GiB free" in lines["vision process 2 on b"]
    assert "NTP" in lines["vision process 2 on b"]
