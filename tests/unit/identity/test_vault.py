"""Encrypted secrets: none is read without the key, and the key file is its owner's alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from identity.keys import hash_of, is_user_name, make_keys
from identity.vault import KEY_FILE, Vault, VaultError

PASSPHRASE = "a passphrase of more than 32 characters"


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE])
def test_a_sealed_secret_is_read_by_another_process_with_the_same_key(
    tmp_path: Path, passphrase: str
) -> None:
    sealed = Vault(passphrase, tmp_path).seal("AK", "a secret")
    assert Vault(passphrase, tmp_path).open("AK", sealed) == "a secret"
    assert b"secret" not in sealed
    assert (tmp_path / KEY_FILE).exists() is not bool(passphrase)


def test_the_same_secret_is_never_sealed_the_same(tmp_path: Path) -> None:
    vault = Vault(PASSPHRASE, tmp_path)
    assert vault.seal("AK", "s") != vault.seal("AK", "s")


def test_a_secret_cannot_be_moved_to_another_access_key(tmp_path: Path) -> None:
    vault = Vault(PASSPHRASE, tmp_path)
    with pytest.raises(VaultError, match="AK2"):
        vault.open("AK2", vault.seal("AK1", "s"))


@pytest.mark.parametrize("cut", [0, 5, 12, 13, 20])
def test_a_secret_that_was_cut_is_refused(tmp_path: Path, cut: int) -> None:
    vault = Vault(PASSPHRASE, tmp_path)
    with pytest.raises(VaultError):
        vault.open("AK", vault.seal("AK", "s")[:cut])


def test_another_passphrase_is_told_in_one_line_without_the_secret(tmp_path: Path) -> None:
    sealed = Vault(PASSPHRASE, tmp_path).seal("AK", "s")
    with pytest.raises(VaultError, match="SNAPSKU_SECRET_KEY") as caught:
        Vault(PASSPHRASE + "!", tmp_path).open("AK", sealed)
    assert PASSPHRASE not in str(caught.value)


def test_the_key_file_is_readable_by_its_owner_alone_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    Vault("", folder).seal("AK", "s")
    made = (folder / KEY_FILE).read_bytes()
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    Vault("", folder).seal("AK", "s")
    assert (folder / KEY_FILE).read_bytes() == made
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]


def test_processes_that_make_the_key_file_at_once_end_up_with_one(tmp_path: Path) -> None:
    vaults = [Vault("", tmp_path) for _ in range(8)]
    barrier = threading.Barrier(len(vaults))

    def seal(vault: Vault) -> bytes:
        barrier.wait(10)
        return vault.seal("AK", "s")

    with ThreadPoolExecutor(len(vaults)) as pool:
        sealed = list(pool.map(seal, vaults))
    assert {Vault("", tmp_path).open("AK", one) for one in sealed} == {"s"}


@pytest.mark.parametrize("content", [None, "", "short", "ü" * 40])
def test_a_key_file_that_is_none_is_told_in_one_line(tmp_path: Path, content: str | None) -> None:
    sealed = Vault("", tmp_path).seal("AK", "s")
    if content is None:
        (tmp_path / KEY_FILE).unlink()
    else:
        (tmp_path / KEY_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(VaultError, match=KEY_FILE):
        Vault("", tmp_path).open("AK", sealed)


def test_keys_are_never_the_same_and_long_enough() -> None:
    made = [make_keys() for _ in range(50)]
    for field in ("access_key", "secret_key", "api_key"):
        values = {getattr(one, field) for one in made}
        assert len(values) == 50
        assert all(len(value) >= 32 for value in values)
    assert hash_of(made[0].api_key) != hash_of(made[1].api_key)


@pytest.mark.parametrize("name", ["a", "shop-1", "A.b_c", "default", "x" * 64])
def test_a_user_name_is_of_plain_characters(name: str) -> None:
    assert is_user_name(name)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "小店", "x" * 65, "a\n", "a:b", "$a"])
def test_a_name_that_would_break_a_task_id_is_none(name: str) -> None:
    assert not is_user_name(name)
