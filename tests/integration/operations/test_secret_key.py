"""A second host with another secret key refuses to start and to make users."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pymongo import MongoClient

from app.services import await_secret_key
from catalog.database.connection import Row, databases
from catalog.rows.accounts import Accounts, NewKeys
from catalog.store import Catalog
from cli.main import main
from config.embedded import free_port
from config.refusal import REFUSED
from config.settings import Settings
from identity.custody import Custody, WrongSecretKeyError
from identity.vault import KEY_FILE, Vault
from tests.catalogues import default_catalog
from tests.integration.operations.programs import environment, run
from tests.servers import Servers

WRONG = "were encrypted with another key than this host has; set SNAPSKU_SECRET_KEY to that"


@pytest.fixture
def database(client: MongoClient[Row]) -> Iterator[str]:
    name = f"secret_{uuid.uuid4().hex[:8]}"
    yield name
    for one in databases(client, name):
        client.drop_database(one.name)


@pytest.fixture
def catalog(client: MongoClient[Row], database: str) -> Catalog:
    return default_catalog(client, database)


class Host:
    """A host with a data directory of its own, on the servers that all share."""

    def __init__(self, folder: Path, servers: Servers, database: str) -> None:
        self.folder = folder
        self.named: dict[str, Any] = {
            "mongo_url": servers.mongo_url,
            "redis_url": servers.redis_url,
            "mongo_database": database,
            "port": str(free_port()),
        }

    def users(self, *arguments: str) -> Result:
        variables = environment(self.folder, **self.named)
        return CliRunner().invoke(main, ["users", *arguments], env=variables)

    def start_refused_api(self) -> subprocess.CompletedProcess[str]:
        return run("api", environment(self.folder, **self.named))

    def check(self) -> None:
        """Do what the API does at its start."""
        await_secret_key(Settings(data_dir=self.folder, **self.named))


@pytest.fixture
def first(tmp_path: Path, servers: Servers, database: str) -> Host:
    return Host(tmp_path / "first", servers, database)


@pytest.fixture
def second(tmp_path: Path, servers: Servers, database: str) -> Host:
    return Host(tmp_path / "second", servers, database)


def test_an_api_without_the_key_of_the_first_host_ends_with_78_and_one_line(
    first: Host, second: Host
) -> None:
    assert first.users("add", "shop").exit_code == 0
    first.check()
    ended = second.start_refused_api()
    assert ended.returncode == REFUSED
    lines = [line for line in ended.stderr.splitlines() if line.startswith("snapsku: ")]
    assert len(lines) == 1
    assert WRONG in lines[0]
    assert "Traceback" not in ended.stderr
    # With the file of the first host it starts.
    second.folder.mkdir(exist_ok=True)
    (second.folder / KEY_FILE).write_text((first.folder / KEY_FILE).read_text())
    second.check()


def test_a_host_with_another_key_makes_no_user_and_no_keys(first: Host, second: Host) -> None:
    assert first.users("add", "shop").exit_code == 0
    second.named["secret_key"] = "x" * 32
    for command in (("add", "other"), ("rotate", "shop")):
        ended = second.users(*command)
        assert (ended.exit_code, ended.stdout) == (1, "")
        assert WRONG in ended.stderr
    assert second.users("disable", "shop").exit_code == 0, "needs no secret"
    assert first.users("list").stdout.count('"user"') == 1


def test_without_users_any_host_starts_and_the_first_to_make_one_has_the_key(
    first: Host, second: Host, catalog: Catalog
) -> None:
    first.check()
    second.check()
    assert catalog.seal.find() is None
    assert second.users("add", "shop").exit_code == 0
    with pytest.raises(SystemExit) as ended:
        first.check()
    assert ended.value.code == REFUSED


def test_in_a_catalogue_from_before_the_host_that_reads_a_secret_has_the_key(
    first: Host, second: Host, catalog: Catalog
) -> None:
    sealed = Vault("", first.folder).seal("AK", "a secret")
    assert catalog.accounts.add("shop", NewKeys("AK", sealed, "hash"), None, None)
    second.check()
    assert catalog.seal.find() is None, "a host that reads none says nothing"
    assert second.users("add", "other").exit_code == 1, "nor does it make users"
    first.check()
    assert catalog.seal.find() is not None
    with pytest.raises(SystemExit):
        second.check()


def test_a_lost_key_is_replaced_on_command_and_its_users_are_named(
    first: Host, catalog: Catalog
) -> None:
    assert first.users("add", "shop").exit_code == 0
    (first.folder / KEY_FILE).unlink()
    with pytest.raises(SystemExit):
        first.check()
    ended = first.users("adopt-key")
    assert ended.stdout.strip() == '{"to_rotate": ["shop"]}'
    first.check()
    assert first.users("rotate", "shop").exit_code == 0
    assert first.users("adopt-key").stdout.strip() == '{"to_rotate": []}'


def test_two_hosts_that_make_the_first_users_at_once_agree_on_one_key(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Custody(catalog.accounts, catalog.seal, Vault("x" * 32, tmp_path))
    theirs = Custody(catalog.accounts, catalog.seal, Vault("y" * 32, tmp_path))

    def has_keys(_: Accounts) -> bool:
        # The other host writes its seal after this one found none.
        monkeypatch.undo()
        ours.claim()
        return False

    monkeypatch.setattr(Accounts, "has_keys", has_keys)
    with pytest.raises(WrongSecretKeyError):
        theirs.claim()
    ours.claim()
