"""`snapsku users` as an operator calls it, and what is then in the database."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from click.testing import CliRunner
from pymongo import MongoClient

from catalog.backup.archive import open_archive
from catalog.backup.restoring import RestoreRefusedError, require_room, restore
from catalog.backup.taking import read_through, take_backup
from catalog.database.connection import Row, databases
from catalog.rows.accounts import Accounts, NewKeys
from catalog.schema.indexes import missing_indexes
from catalog.schema.version import RESTORE, SCHEMA
from cli.main import main
from cli.processes import ROOT
from identity.keys import DEFAULT_USER, hash_of
from identity.vault import KEY_FILE, Vault
from tests.catalogues import default_catalog
from tests.integration.operations.busy_catalog import Busy
from tests.integration.operations.programs import environment
from tests.servers import Servers

#: What the first `add` says beside the keys.
FIRST = "every call needs a key from now on, on this machine, too\n"

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def database(client: MongoClient[Row]) -> Iterator[str]:
    name = f"users_{uuid.uuid4().hex[:8]}"
    yield name
    for one in databases(client, name):
        client.drop_database(one.name)


@pytest.fixture
def accounts(client: MongoClient[Row], database: str) -> Accounts:
    return default_catalog(client, database).accounts


def run_users(data_dir: Path, *arguments: str, **named: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "users", *arguments],
        cwd=ROOT,
        env=environment(data_dir, **named),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def users(servers: Servers, tmp_path: Path, database: str) -> Call:
    """Return a function that runs a command of the group."""

    def called(*arguments: str, **named: str) -> subprocess.CompletedProcess[str]:
        chosen = {
            "mongo_url": servers.mongo_url,
            "redis_url": servers.redis_url,
            "mongo_database": database,
        }
        variables = environment(tmp_path / "data", **(chosen | named))
        ended = CliRunner().invoke(main, ["users", *arguments], env=variables)
        return subprocess.CompletedProcess(arguments, ended.exit_code, ended.stdout, ended.stderr)

    return called


def told(ended: subprocess.CompletedProcess[str]) -> Any:
    """The JSON that a command printed, and nothing else."""
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr in ("", FIRST)
    (line,) = ended.stdout.splitlines()
    return json.loads(line)


def refusal(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 1
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    return line


def test_add_prints_the_keys_once_and_list_never_does(users: Call, accounts: Accounts) -> None:
    made = told(users("add", "shop-1", "--per-second", "3", "--per-day", "0"))
    assert list(made) == ["user", "access_key", "secret_key", "api_key"]
    ended = users("list")
    (listed,) = told(ended)
    assert listed.pop("made_at")
    assert listed == {
        "user": "shop-1",
        "access_key": made["access_key"],
        "disabled": False,
        "per_second": 3,
        "per_day": 0,
        "data_of": "shop-1",
    }
    assert made["secret_key"] not in ended.stdout
    assert made["api_key"] not in ended.stdout
    key = accounts.key_of_api(hash_of(made["api_key"]))
    assert key is not None
    assert (key.user, key.access_key) == ("shop-1", made["access_key"])


def test_the_first_user_ends_the_access_without_a_key_and_is_told_so(users: Call) -> None:
    assert users("add", "a").stderr == FIRST
    assert users("add", "b").stderr == ""


def test_what_was_made_without_a_key_is_told_until_a_user_has_it(
    users: Call, accounts: Accounts, client: MongoClient[Row], database: str
) -> None:
    collections = default_catalog(client, database).collections
    for name, images in (("shoes", 2), ("hats", 3)):
        made = collections.find_or_create(DEFAULT_USER, name, 10)
        collections.add_images(made.key, made.generation, images)
    waits = "2 collections with 5 images were made without a key, and no key reaches them"
    assert waits in users("add", "a").stderr
    assert "--adopt-default" in users("add", "b").stderr
    assert users("add", "c", "--adopt-default").stderr == ""
    assert users("add", "d").stderr == ""
    account = accounts.find("c")
    assert account is not None
    assert account.data_of == DEFAULT_USER
    assert [one["data_of"] for one in told(users("list"))] == ["a", "b", DEFAULT_USER, "d"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a", "--adopt-default"), ("b", "--adopt-default")),
        (("a", "--adopt-default"), (DEFAULT_USER,)),
        ((DEFAULT_USER,), ("b", "--adopt-default")),
    ],
)
def test_what_was_made_without_a_key_goes_to_one_user_only(
    users: Call, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    told(users("add", *first))
    line = refusal(users("add", *second))
    assert line == f"Error: the data of default is that of the user {first[0]}"


def test_the_secret_can_be_read_with_the_key_file_or_the_setting_alone(
    users: Call, accounts: Accounts, tmp_path: Path
) -> None:
    with_file = told(users("add", "a"))
    passphrase = (tmp_path / "data" / KEY_FILE).read_text().strip()
    elsewhere = str(tmp_path / "another host")
    with_setting = told(users("add", "b", secret_key=passphrase, data_dir=elsewhere))
    assert (tmp_path / "data" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    for made, vault in (
        (with_file, Vault("", tmp_path / "data")),
        (with_setting, Vault(passphrase, tmp_path / "nowhere")),
    ):
        key = accounts.key(made["access_key"])
        assert key is not None
        assert vault.open(key.access_key, key.secret) == made["secret_key"]


def test_a_user_that_is_there_is_refused_and_keeps_its_keys(
    users: Call, accounts: Accounts
) -> None:
    made = told(users("add", "a"))
    assert "rotate" in refusal(users("add", "a", "--per-day", "1"))
    account = accounts.find("a")
    assert account is not None
    assert (account.access_key, account.per_day) == (made["access_key"], None)


def test_rotate_ends_the_old_keys_at_once(users: Call, accounts: Accounts) -> None:
    old = told(users("add", "a", "--per-day", "7"))
    new = told(users("rotate", "a"))
    assert all(new[name] != old[name] for name in ("access_key", "secret_key", "api_key"))
    account = accounts.find("a")
    assert account is not None
    assert (account.access_key, account.per_day) == (new["access_key"], 7)
    assert accounts.key(old["access_key"]) is None
    assert accounts.key_of_api(hash_of(old["api_key"])) is None
    assert accounts.key(new["access_key"]) is not None


def test_disable_and_enable_change_that_alone(users: Call, accounts: Accounts) -> None:
    made = told(users("add", "a"))
    assert told(users("disable", "a")) == {"user": "a", "disabled": True}
    assert told(users("list"))[0]["disabled"] is True
    assert told(users("enable", "a")) == {"user": "a", "disabled": False}
    account = accounts.find("a")
    assert account is not None
    assert (account.is_disabled, account.access_key) == (False, made["access_key"])


@pytest.mark.parametrize("command", ["rotate", "disable", "enable"])
def test_a_user_that_is_not_there_is_told_in_one_line(
    users: Call, accounts: Accounts, command: str
) -> None:
    assert refusal(users(command, "nobody")) == "Error: there is no user nobody"
    assert not accounts.has_keys()


@pytest.mark.parametrize("name", ["a/b", "小店", "x" * 65])
def test_a_name_that_cannot_be_is_refused(users: Call, accounts: Accounts, name: str) -> None:
    assert users("add", name).returncode == 2
    assert not accounts.has_keys()


def test_a_database_that_is_being_restored_takes_no_user(
    users: Call, client: MongoClient[Row], database: str
) -> None:
    client[database]["schema"].insert_one({"_id": RESTORE})
    assert "restored" in refusal(users("add", "a"))
    assert client[database]["accounts"].find_one({}) is None


def test_without_a_stack_the_command_starts_the_servers_itself(tmp_path: Path) -> None:
    made = told(run_users(tmp_path, "add", "a"))
    (listed,) = told(run_users(tmp_path, "list"))
    assert (listed["user"], listed["access_key"]) == ("a", made["access_key"])
    assert not (tmp_path / "run" / "endpoints.json").exists()


def test_a_stolen_database_and_a_stolen_backup_hold_no_secret(
    users: Call, client: MongoClient[Row], database: str, tmp_path: Path
) -> None:
    secrets = []
    for ended in (users("add", "a"), users("add", "b"), users("rotate", "a")):
        made = told(ended)
        secrets += [made["secret_key"], made["api_key"]]
    rows = [
        row
        for one in databases(client, database)
        for t in one.list_collection_names()
        for row in one[t].find({})
    ]
    assert len(rows) >= 4
    stolen = b"".join(bson.encode(row) for row in rows)
    assert b"access_key" in stolen
    take_backup(client, database, tmp_path / "file", lambda *_: None)
    with open_archive(tmp_path / "file") as archive:
        carried = {table: list(archive.rows(table)) for table in ("accounts", "access_keys")}
    assert [len(found) for found in carried.values()] == [2, 2]
    stolen += b"".join(bson.encode(row) for found in carried.values() for row in found)
    key = (tmp_path / "data" / KEY_FILE).read_text(encoding="ascii").strip()
    assert key.encode() not in stolen + (tmp_path / "file").read_bytes()
    for secret in secrets:
        forms = [secret.encode(), secret.removeprefix("snapsku_").encode()]
        forms.append(bytes.fromhex(secret.removeprefix("snapsku_")))
        assert [form for form in forms if form in stolen] == []


def test_users_come_back_with_a_backup_and_their_keys_work(
    users: Call, client: MongoClient[Row], database: str, tmp_path: Path
) -> None:
    made = told(users("add", "a", "--per-day", "9"))
    told(users("add", "b"))
    told(users("disable", "b"))
    busy = Busy(client, database)
    busy.victim()
    take_backup(client, database, tmp_path / "file", lambda *_: None)
    target = f"{database}_restored"
    with open_archive(tmp_path / "file") as archive:
        consistent = read_through(archive, lambda *_: None)
        restore(
            client,
            target,
            archive,
            consistent,
            schema=SCHEMA,
            catalogue=archive.manifest.catalogue,
            checksum=archive.checksum,
            progress=lambda *_: None,
        )
    restored = default_catalog(client, target).accounts
    before = default_catalog(client, database).accounts
    assert restored.all() == before.all()
    key = restored.key_of_api(hash_of(made["api_key"]))
    assert key is not None
    assert Vault("", tmp_path / "data").open(key.access_key, key.secret) == made["secret_key"]
    assert "access_keys.api_key_hash" not in missing_indexes(client, target)
    for one in databases(client, target):
        client.drop_database(one.name)


def test_a_backup_never_takes_the_place_of_users(
    accounts: Accounts, client: MongoClient[Row], database: str
) -> None:
    assert accounts.add("a", NewKeys("AK", b"x", "h"), None, None)
    with pytest.raises(RestoreRefusedError, match="accounts"):
        require_room(client, database, SCHEMA, "")
