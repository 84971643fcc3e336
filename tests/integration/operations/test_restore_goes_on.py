"""A restore that is cut off goes on where it stopped, with the same backup and no other."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.monitoring import CommandListener

from catalog.backup import restoring
from catalog.backup.archive import open_archive
from catalog.backup.consistent_rows import ConsistentRows
from catalog.backup.dumping import BLOBS, Progress
from catalog.backup.restoring import RestoreRefusedError, restore
from catalog.backup.taking import take_backup
from catalog.database import lease
from catalog.database.connection import Row, databases, now, stamp
from catalog.rows.chunks import TIME_FIELDS
from catalog.schema.indexes import INDEXES, missing_indexes
from catalog.schema.version import RESTORE
from cli.processes import ROOT
from tests.integration.operations.busy_catalog import Busy, audit
from tests.integration.operations.cut_writes import Cut, mortal_client
from tests.integration.operations.programs import environment
from tests.servers import Servers


@pytest.fixture
def file(busy: Busy, tmp_path: Path) -> Path:
    """A backup of a catalogue with images that are done, deleted and on their way."""
    busy.image_is_deleted(busy.victim())
    busy.victim("1002")
    take_backup(busy.client, busy.name, tmp_path / "file", silent)
    return tmp_path / "file"


@pytest.fixture
def _short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE", timedelta(seconds=0.01))
    monkeypatch.setattr(restoring, "WAIT_SECONDS", 0.01)


def silent(table: str, done: int, total: int | None) -> None:
    pass


def put_back(
    client: MongoClient[Row],
    name: str,
    path: Path,
    progress: Progress = silent,
    checksum: str | None = None,
) -> None:
    with open_archive(path) as archive:
        restore(
            client,
            name,
            archive,
            ConsistentRows(archive),
            schema=archive.manifest.schema,
            catalogue=archive.manifest.catalogue,
            checksum=checksum or archive.checksum,
            progress=progress,
        )


def cut_at(client: MongoClient[Row], name: str, path: Path, at: str) -> None:
    """Restore up to a table."""

    def cut(table: str, done: int, total: int | None) -> None:
        if table == at:
            raise Cut

    with pytest.raises(Cut):
        put_back(client, name, path, cut)


def is_restored(client: MongoClient[Row], name: str) -> bool:
    kept = {row["_id"]: row for row in databases(client, name)[0]["schema"].find()}
    return "restored" in kept.get("schema", {}) and RESTORE not in kept


def all_rows(client: MongoClient[Row], name: str) -> dict[str, list[Row]]:
    """Every row by table, without what a restore makes anew."""
    anew = (*TIME_FIELDS, "index_at", "open_since", "recount_at", "deleted_at")
    found: dict[str, list[Row]] = {}
    for database in databases(client, name):
        for table in set(database.list_collection_names()) - {"schema"}:
            found[table] = []
            for row in database[table].find():
                kept = {k: v for k, v in row.items() if k not in anew}
                if "chunk_ids" in row:
                    kept["chunk_ids"] = [each.rpartition("-")[2] for each in row["chunk_ids"]]
                if "items" in row:
                    kept["_id"] = row["_id"].rpartition("-")[2]
                found[table].append(kept)
            found[table].sort(key=str)
    return found


@pytest.mark.usefixtures("_short_leases")
def test_a_restore_that_is_cut_off_again_and_again_comes_to_the_same_rows_once_each(
    servers: Servers,
    client: MongoClient[Row],
    file: Path,
    target: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restoring, "PAGE_BYTES", 0)  # each document is a page
    put_back(client, f"{target}_whole", file)
    whole = all_rows(client, f"{target}_whole")
    with mortal_client(servers.mongo_url) as (mortal, cutter):
        chance = random.Random(13)
        tries = 0
        while not is_restored(client, target):
            tries += 1
            assert tries < 100
            cutter.left = chance.randint(6, 16)
            with suppress(Cut):
                put_back(mortal, target, file)
        assert tries > 10
        # A try writes its lease, and may write one page that was written and not noted before.
        assert cutter.inserted <= sum(map(len, whole.values())) + 4 * tries
    assert all_rows(client, target) == whole
    assert audit(client, target)


PROGRAM = """
import os, signal, sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from catalog.backup.archive import open_archive
from catalog.database import lease
from catalog.database.connection import connect
from catalog.backup.restoring import restore
from catalog.backup.consistent_rows import ConsistentRows

lease.LEASE = timedelta(seconds=0.5)

def told(table, done, total):
    if table == "images":
        os.kill(os.getpid(), signal.SIGKILL)

with connect(sys.argv[1], 5) as client, open_archive(Path(sys.argv[3])) as archive:
    manifest = archive.manifest
    restore(
        client, sys.argv[2], archive, ConsistentRows(archive), schema=manifest.schema,
        catalogue=manifest.catalogue, checksum=archive.checksum, progress=told,
    )
"""


class Inserts(CommandListener):
    """The tables into which something was inserted."""

    def __init__(self) -> None:
        self.tables: set[str] = set()

    def started(self, event: Any) -> None:
        if event.command_name == "insert":
            self.tables.add(event.command["insert"])

    def succeeded(self, event: Any) -> None: ...
    def failed(self, event: Any) -> None: ...


def test_a_restore_that_was_killed_goes_on_in_the_table_where_it_was(
    servers: Servers, client: MongoClient[Row], file: Path, target: str, tmp_path: Path
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, servers.mongo_url, target, file],
        cwd=ROOT,
        env=environment(tmp_path),
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    inserts = Inserts()
    with MongoClient[Row](servers.mongo_url, event_listeners=[inserts]) as watched:
        put_back(watched, target, file)
    assert "tasks" in inserts.tables
    assert inserts.tables & {*BLOBS, "products", "images"} == set()
    put_back(client, f"{target}_whole", file)
    assert all_rows(client, target) == all_rows(client, f"{target}_whole")


@pytest.mark.usefixtures("_short_leases")
def test_a_part_of_another_backup_is_refused_and_left_as_it_is(
    client: MongoClient[Row], file: Path, target: str
) -> None:
    cut_at(client, target, file, "images")
    before = all_rows(client, target)
    with pytest.raises(RestoreRefusedError, match="a part of another backup"):
        put_back(client, target, file, checksum="f" * 64)
    assert all_rows(client, target) == before
    put_back(client, target, file)
    assert audit(client, target)
    with pytest.raises(RestoreRefusedError, match="to its end; start the service"):
        put_back(client, target, file)


@pytest.mark.usefixtures("_short_leases")
@pytest.mark.parametrize("harm", ["lost row", "mark of an older release"])
def test_what_can_not_be_gone_on_from_begins_anew(
    client: MongoClient[Row], file: Path, target: str, harm: str
) -> None:
    cut_at(client, target, file, "chunks")
    rows, blobs = databases(client, target)
    if harm == "lost row":
        lost = blobs["vectors"].find_one()
        assert lost is not None
        blobs["vectors"].delete_one({"_id": lost["_id"]})
    else:
        rows["schema"].replace_one({"_id": RESTORE}, {"begun_at": 5})
        rows["products"].insert_one({"_id": "of who knows which backup"})
    put_back(client, target, file)
    put_back(client, f"{target}_whole", file)
    assert all_rows(client, target) == all_rows(client, f"{target}_whole")


def test_two_restores_at_once_are_one_and_a_refusal(
    client: MongoClient[Row], file: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.1)
    is_there, may_go = threading.Event(), threading.Event()

    def waits(table: str, done: int, total: int | None) -> None:
        is_there.set()
        may_go.wait(20)

    first = threading.Thread(target=put_back, args=(client, target, file, waits), daemon=True)
    first.start()
    assert is_there.wait(20)
    with pytest.raises(RestoreRefusedError, match=r"another process works on .*restores a backup"):
        put_back(client, target, file)
    may_go.set()
    first.join(20)
    assert audit(client, target)


@pytest.mark.usefixtures("_short_leases")
def test_the_lease_of_a_process_that_died_is_waited_for(
    client: MongoClient[Row], file: Path, target: str
) -> None:
    kept = databases(client, target)[0]["schema"]
    until = stamp(now() + timedelta(seconds=0.5))
    kept.insert_one({"_id": "lock", "holder": "dead", "until": until, "work": "restores a backup"})
    put_back(client, target, file)
    assert stamp(now()) > until
    assert audit(client, target)


def test_a_restore_before_whose_lease_another_came_to_its_end_is_refused(
    client: MongoClient[Row], file: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_lease = restoring._take_lease

    def late(*arguments: Any) -> lease.Holding:
        monkeypatch.setattr(restoring, "_take_lease", take_lease)
        put_back(client, target, file)
        return take_lease(*arguments)

    monkeypatch.setattr(restoring, "_take_lease", late)
    with pytest.raises(RestoreRefusedError, match="to its end; start the service"):
        put_back(client, target, file)
    assert audit(client, target)


@pytest.mark.usefixtures("_short_leases")
def test_a_restore_that_slept_until_another_took_it_over_ends_there(
    client: MongoClient[Row], file: Path, target: str
) -> None:
    pages: list[str] = []

    def sleeps(table: str, done: int, total: int | None) -> None:
        pages.append(table)
        put_back(client, target, file)

    with pytest.raises(RestoreRefusedError, match="another process has taken this restore over"):
        put_back(client, target, file, sleeps)
    assert len(pages) == 1
    assert is_restored(client, target)
    assert audit(client, target)


@pytest.mark.usefixtures("_short_leases")
def test_indexes_are_there_before_the_first_row(
    client: MongoClient[Row], file: Path, target: str
) -> None:
    missing: list[list[str]] = []

    def told(table: str, done: int, total: int | None) -> None:
        missing.append(missing_indexes(client, target))

    put_back(client, target, file, told)
    assert INDEXES
    assert missing[0] == []
