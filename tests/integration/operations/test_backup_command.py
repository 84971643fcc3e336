"""`snapsku backup` and `snapsku restore` as an operator calls them, and what they refuse."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from pymongo import MongoClient

from broker.reports.heartbeats import Consumption
from catalog.backup.archive import ArchiveWriter, Manifest, open_archive
from catalog.backup.consistent_rows import ConsistentRows
from catalog.backup.dumping import BLOBS
from catalog.backup.restoring import USED, RestoreRefusedError, require_room, restore
from catalog.backup.taking import take_backup
from catalog.database.connection import Row, databases
from catalog.schema.version import RESTORE, SCHEMA
from cli.processes import ROOT
from config.embedded import embedded_servers, free_port
from config.endpoints import read_endpoints
from config.settings import Settings
from tests.catalogues import default_catalog
from tests.integration.operations.busy_catalog import Busy, audit
from tests.integration.operations.programs import environment, run
from tests.servers import Servers

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def file(busy: Busy, tmp_path: Path) -> Path:
    """A backup of a catalogue with a collection."""
    busy.victim()
    take_backup(busy.client, busy.name, tmp_path / "file", silent)
    return tmp_path / "file"


@pytest.fixture
def call(servers: Servers, tmp_path: Path) -> Call:
    """Return a function that runs the command; no worker is known to its Redis database."""

    def called(
        *arguments: object, limit: int | None = None, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        chosen = {
            "mongo_url": servers.mongo_url,
            "redis_url": servers.redis_url.replace("/0", "/5"),
            "mongo_timeout_seconds": "1",
            "redis_timeout_seconds": "1",
        } | settings

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 0, limit or 0))

        return subprocess.run(
            [sys.executable, "-m", "cli.main", *map(str, arguments)],
            cwd=ROOT,
            env=environment(tmp_path / "data", **chosen),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            preexec_fn=limited if limit else None,
        )

    return called


def silent(table: str, done: int, total: int | None) -> None:
    pass


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that refused."""
    assert (done.returncode, done.stdout) == (1, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


def is_untouched(client: MongoClient[Row], name: str) -> bool:
    # The embedded server makes a database when a client first names it.
    return not any(database.list_collection_names() for database in databases(client, name))


def test_a_catalogue_goes_into_one_file_is_checked_and_comes_back(
    busy: Busy, client: MongoClient[Row], call: Call, target: str, tmp_path: Path
) -> None:
    victim = busy.victim()
    path = tmp_path / "backups" / "snapsku.zip"
    path.parent.mkdir()
    whole = "1 collections, 1 products, 2 images, 2 images on their way, 2 tasks"
    done = call("backup", path, mongo_database=busy.name)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.endswith(f" MB, {whole}\n")
    assert [p.name for p in path.parent.iterdir()] == ["snapsku.zip"]
    assert path.stat().st_mode & 0o777 == 0o600

    done = call("restore", "--check", path, mongo_url="mongodb://127.0.0.1:1/")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path} is whole: {whole}\n"

    done = call("restore", path, mongo_database=target)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout == f"restored: {whole}; start the service\n"
    assert audit(client, target).keys() == {*victim.done_labels, *victim.waiting_labels}


def test_a_restored_catalogue_is_another_one_than_its_origin(
    client: MongoClient[Row], call: Call, file: Path, target: str
) -> None:
    ids = []
    for name in (target, f"{target}_2"):
        assert call("restore", file, mongo_database=name).returncode == 0
        ids.append(default_catalog(client, name).identity.get())
    with open_archive(file) as archive:
        assert len({*ids, archive.manifest.catalogue}) == 3


def test_a_backup_never_takes_the_place_of_a_file(busy: Busy, call: Call, file: Path) -> None:
    before = file.read_bytes()
    assert f"{file} is there already" in refusal(call("backup", file, mongo_database=busy.name))
    assert file.read_bytes() == before


def test_a_database_without_a_catalogue_is_not_backed_up(
    client: MongoClient[Row], call: Call, target: str, tmp_path: Path
) -> None:
    told = refusal(call("backup", tmp_path / "file", mongo_database=target))
    assert f"database {target} has no catalogue" in told
    assert not (tmp_path / "file").exists()
    assert is_untouched(client, target)


def test_a_full_disk_is_told_and_leaves_nothing(busy: Busy, call: Call, tmp_path: Path) -> None:
    busy.victim()
    (tmp_path / "backups").mkdir()
    path = tmp_path / "backups" / "file"
    told = refusal(call("backup", path, mongo_database=busy.name, limit=1500))
    assert "File too large" in told
    assert list(path.parent.iterdir()) == []


def test_a_server_that_is_away_is_told(call: Call, file: Path) -> None:
    told = refusal(call("backup", f"{file}.2", mongo_url="mongodb://u:hunter2@127.0.0.1:1/"))
    assert "Connection refused" in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("harm", "options"), [("cut", ()), ("flipped", ()), ("foreign", ()), ("flipped", ("--check",))]
)
def test_a_file_that_is_not_whole_is_refused_before_anything_is_written(
    client: MongoClient[Row],
    call: Call,
    file: Path,
    target: str,
    harm: str,
    options: tuple[str, ...],
) -> None:
    content = bytearray(file.read_bytes())
    if harm == "cut":
        del content[len(content) // 2 :]
    elif harm == "flipped":
        content[len(content) // 2] ^= 1
    else:
        content[:] = b"%PDF-1.7" * 100
    file.write_bytes(content)
    told = refusal(call("restore", *options, file, mongo_database=target))
    assert told.startswith(f"{file} is {'no backup' if harm == 'foreign' else 'cut or damaged'}")
    assert is_untouched(client, target)


def test_a_file_that_is_not_there_is_told(call: Call, tmp_path: Path) -> None:
    assert "No such file" in refusal(call("restore", tmp_path / "nowhere"))


def rewritten(file: Path, **changes: Any) -> Path:
    """The same backup with another manifest."""
    path = file.with_name("rewritten")
    with open_archive(file) as archive, path.open("wb") as draft, ArchiveWriter(draft) as writer:
        for table in archive.manifest.documents:
            writer.write(table, archive.documents(table), is_packed=True)
        manifest: Manifest = replace(archive.manifest, **changes)
        writer.finish(manifest)
    return path


def test_rows_of_a_newer_version_are_refused(
    client: MongoClient[Row], call: Call, file: Path, target: str
) -> None:
    newer = rewritten(file, schema=SCHEMA + 1)
    told = refusal(call("restore", newer, mongo_database=target))
    assert f"rows of version {SCHEMA + 1}, this code knows version {SCHEMA}" in told
    assert is_untouched(client, target)


def test_a_database_that_is_not_empty_is_refused_and_left_as_it_is(
    client: MongoClient[Row], call: Call, file: Path, target: str
) -> None:
    rows = databases(client, target)[0]
    rows["images"].insert_one({"_id": "mine"})
    told = refusal(call("restore", file, mongo_database=target))
    assert f"database {target} is not empty (images)" in told
    assert rows["schema"].count_documents({}) == 0
    assert rows["images"].find_one({}) == {"_id": "mine"}


@pytest.mark.parametrize("table", [*USED, *BLOBS])
def test_a_row_in_any_table_makes_it_not_empty(
    client: MongoClient[Row], target: str, table: str
) -> None:
    require_room(client, target, SCHEMA, "")
    databases(client, target)[table in BLOBS][table].insert_one({"_id": "mine"})
    with pytest.raises(RestoreRefusedError, match=rf"is not empty \({table}\)"):
        require_room(client, target, SCHEMA, "")


def test_a_database_whose_service_never_took_anything_counts_as_empty(
    client: MongoClient[Row], call: Call, file: Path, target: str
) -> None:
    Busy(client, target)
    done = call("restore", file, mongo_database=target)
    assert done.returncode == 0, done
    audit(client, target)


def test_a_service_that_runs_is_refused(
    client: MongoClient[Row], call: Call, file: Path, target: str, servers: Servers
) -> None:
    url = servers.redis_url.replace("/0", "/6")
    with redis.Redis.from_url(url) as there:
        there.flushdb()
        Consumption(there, 30.0).note("vision")
        told = refusal(call("restore", file, mongo_database=target, redis_url=url))
        there.flushdb()
    assert re.match(r"queue vision was consumed \d s ago; stop every process", told)
    assert is_untouched(client, target)


def test_without_redis_a_restore_goes_on(
    client: MongoClient[Row], call: Call, file: Path, target: str
) -> None:
    done = call("restore", file, mongo_database=target, redis_url="redis://127.0.0.1:1/0")
    assert done.returncode == 0, done
    audit(client, target)


@pytest.mark.parametrize("at", ["vectors", "images", "chunks", "collections"])
def test_a_restore_that_was_cut_off_keeps_the_service_away_and_goes_on(
    client: MongoClient[Row],
    call: Call,
    file: Path,
    target: str,
    servers: Servers,
    tmp_path: Path,
    at: str,
) -> None:
    def cut(table: str, done: int, total: int | None) -> None:
        if table == at:
            raise KeyboardInterrupt

    with open_archive(file) as archive:
        consistent = ConsistentRows(archive)
        with pytest.raises(KeyboardInterrupt):
            restore(
                client,
                target,
                archive,
                consistent,
                schema=SCHEMA,
                catalogue=archive.manifest.catalogue,
                checksum=archive.checksum,
                progress=cut,
            )
    rows = databases(client, target)[0]
    assert rows["schema"].find_one({"_id": RESTORE}) is not None
    if at == "vectors":
        api = environment(
            tmp_path,
            mongo_url=servers.mongo_url,
            redis_url=servers.redis_url,
            mongo_database=target,
            port=str(free_port()),
            log_level="WARNING",
        )
        ended = run("api", api)
        assert ended.returncode == 1
        (line,) = ended.stderr.strip().splitlines()
        assert line.startswith(f"snapsku: database {target}: a backup is being restored into it")

    done = call("restore", file, mongo_database=target)
    assert done.returncode == 0, done
    assert len(audit(client, target)) == 4
    assert rows["schema"].find_one({"_id": RESTORE}) is None


def test_without_servers_of_their_own_the_commands_start_the_embedded_ones(
    call: Call, file: Path, tmp_path: Path
) -> None:
    own = {"mongo_url": "", "redis_url": ""}
    done = call("restore", file, **own)
    assert done.returncode == 0, done
    again = tmp_path / "again"
    done = call("backup", again, **own)
    assert done.returncode == 0, done
    with open_archive(file) as first, open_archive(again) as second:
        for table in ("images", "products", "vectors", "pictures", "local_features"):
            assert list(first.rows(table)) == list(second.rows(table))

    # Named here, so that no variable of other tests in this process names a server.
    settings = Settings(
        data_dir=tmp_path / "data", mongo_url=SecretStr(""), redis_url=SecretStr("")
    )
    with embedded_servers(settings):
        assert "in use by another running stack" in refusal(call("restore", file, **own))
        assert call("backup", tmp_path / "third", **own).returncode == 0
    assert read_endpoints(tmp_path / "data") is None
