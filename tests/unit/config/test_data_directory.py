"""A data directory that can't be used is refused in one line, before anything starts."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import tempfile
from collections import namedtuple
from pathlib import Path
from typing import Any, NoReturn

import pytest

from config.data_directory import DataDirectoryInUseError, lock_file, owned, require_usable
from config.settings import SettingsError

Usage = namedtuple("Usage", "total used free")
OTHER = 65_534


def refusal(folder: Path) -> str:
    with pytest.raises(SettingsError) as refused, owned(folder):
        pass
    told = str(refused.value)
    assert "\n" not in told
    assert str(folder) in told
    return told


def no_more(number: int) -> Any:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    require_usable(tmp_path / "new" / "data")
    assert list((tmp_path / "new" / "data").iterdir()) == []


@pytest.mark.parametrize("below", ["", "data"])
def test_a_file_in_its_place_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    told = refusal(tmp_path / "file" / below)
    assert "is a file; name a folder in SNAPSKU_DATA_DIR" in told


def test_a_folder_that_cannot_be_made_is_refused(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setattr(Path, "mkdir", no_more(errno.EACCES))
    told = refusal(tmp_path / "data")
    assert "can't be made (Permission denied); make it and give it to" in told


def test_root_does_not_write_into_the_folder_of_another_user(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setattr(os, "geteuid", lambda: 0)
    real = Path.stat

    def stat(path: Path, **how: bool) -> Any:
        found = list(real(path, **how))
        found[4] = OTHER
        return os.stat_result(found)

    environment.setattr(Path, "stat", stat)
    owner = pwd.getpwuid(OTHER).pw_name
    assert refusal(tmp_path).endswith(f"belongs to {owner}; run this as that user")


def test_a_file_of_another_user_in_the_folder_is_refused_by_its_name(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret.key").touch()
    environment.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    environment.setattr(os, "access", lambda path, _: Path(path).name != "secret.key")
    told = refusal(tmp_path)
    assert told.startswith(f"{tmp_path}/secret.key belongs to ")
    assert f"chown -R user {tmp_path.stat().st_uid + 1}" in told or "chown -R " in told


def test_a_folder_of_another_user_that_can_be_written_is_taken(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    environment.setattr(os, "access", lambda *_: True)
    require_usable(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_as_such(
    environment: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    environment.setattr(tempfile, "TemporaryFile", no_more(number))
    assert refusal(tmp_path).startswith(f"the disk of {tmp_path} is full; make room")


def test_a_disk_that_is_nearly_full_is_told_as_full(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 10**6))
    assert refusal(tmp_path).startswith(f"the disk of {tmp_path} is full; make room")


def test_a_file_system_that_is_read_only_is_refused(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setattr(tempfile, "TemporaryFile", no_more(errno.EROFS))
    assert "can't be written (Read-only file system); mount it for writing" in refusal(tmp_path)


def test_a_folder_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    lock_file(tmp_path).mkdir()
    assert "lock can't be opened (Is a directory); remove it" in refusal(tmp_path)


def test_a_file_of_another_user_one_folder_deeper_is_found(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "nx").mkdir()
    (tmp_path / "nx" / "rows.db").touch()
    environment.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    environment.setattr(os, "access", lambda path, _: Path(path).name != "rows.db")
    assert refusal(tmp_path).startswith(f"{tmp_path}/nx/rows.db belongs to ")


def test_a_file_system_without_locks_is_refused(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setattr("fcntl.flock", no_more(errno.ENOLCK))
    assert "can't be locked (No locks available); use a local disk" in refusal(tmp_path)


def test_a_folder_that_another_stack_uses_is_refused_with_its_process(tmp_path: Path) -> None:
    with owned(tmp_path):
        told = refusal(tmp_path)
    assert f"is in use by another running stack (process {os.getpid()}); stop it, or" in told


def test_the_lock_of_a_server_that_outlived_its_stack_is_told_as_such(tmp_path: Path) -> None:
    with owned(tmp_path):
        # Beyond the largest process id of Linux.
        lock_file(tmp_path).write_text("4194305", encoding="utf-8")
        with (
            pytest.raises(DataDirectoryInUseError, match="a stack that was killed") as refused,
            owned(tmp_path),
        ):
            pass
    assert f"`fuser {tmp_path}/lock` names it: end it" in str(refused.value)


def test_a_lock_file_that_nothing_holds_is_no_hindrance(tmp_path: Path) -> None:
    lock_file(tmp_path).write_text("1", encoding="utf-8")
    with owned(tmp_path):
        assert lock_file(tmp_path).read_text(encoding="utf-8") == str(os.getpid())
