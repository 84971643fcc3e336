"""The file of settings is read as it stands, whatever program wrote it, or refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.settings import SettingsError, read_settings

FILE = Path("snapsku.env")


def refusal(content: bytes) -> str:
    FILE.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    told = str(refused.value)
    assert "\n" not in told
    return told


@pytest.mark.parametrize("password", ["pa$$word${HOME}", "$HOME", "a$b", "half$", "p=q"])
def test_a_value_is_what_stands_there(password: str) -> None:
    FILE.write_text(f"SNAPSKU_FLOWER_PASSWORD={password}\n", encoding="utf-8")
    assert read_settings().flower_password.get_secret_value() == password


def test_quotes_comments_and_spaces_around_a_value_are_not_part_of_it() -> None:
    FILE.write_text(
        "# of the shop\n\nexport SNAPSKU_PORT = 8123  # not 8000\nSNAPSKU_FLOWER_USER='the boss'\n",
        encoding="utf-8",
    )
    found = read_settings()
    assert (found.port, found.flower_user) == (8123, "the boss")


def test_an_empty_data_directory_is_the_default(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_DATA_DIR", "")
    assert read_settings().data_dir == Path("data")


def test_a_file_of_a_secret_that_is_named_there_is_looked_for_beside_it(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "password").write_text("hunter2\n", encoding="utf-8-sig")
    (folder / "own.env").write_text("SNAPSKU_FLOWER_PASSWORD_FILE=password\n", encoding="utf-8")
    environment.setenv("SNAPSKU_SETTINGS_FILE", str(folder / "own.env"))
    assert read_settings().flower_password.get_secret_value() == "hunter2"


def test_the_later_of_two_lines_counts() -> None:
    FILE.write_text("SNAPSKU_PORT=8123\nSNAPSKU_PORT=8124\n", encoding="utf-8")
    assert read_settings().port == 8124


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_in_utf_8_is_read_with_and_without_a_mark_at_its_beginning(encoding: str) -> None:
    FILE.write_bytes("SNAPSKU_CATEGORIES=包,鞋\r\nSNAPSKU_PORT=8123\r\n".encode(encoding))
    found = read_settings()
    assert (found.categories, found.port) == (("包", "鞋"), 8123)


@pytest.mark.parametrize("encoding", ["gbk", "latin-1"])
def test_a_file_in_another_encoding_is_refused_with_the_line(encoding: str) -> None:
    text = "SNAPSKU_PORT=8123\nSNAPSKU_CATEGORIES={}\n"
    content = text.format("包" if encoding == "gbk" else "\u00fc").encode(encoding)
    assert refusal(content) == "snapsku.env is not UTF-8, from line 2 on; save it as UTF-8"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_refused(encoding: str) -> None:
    told = refusal("SNAPSKU_PORT=8123\n".encode(encoding))
    assert told == "snapsku.env is UTF-16 or no text; save it as UTF-8"


@pytest.mark.parametrize("line", ["SNAPSKU_PORT 8123", "SNAPSKU_PORT", "SNAPSKU_PORT='8123"])
def test_a_line_that_is_no_assignment_is_refused_with_its_number(line: str) -> None:
    told = refusal(f"SNAPSKU_API_THREADS=7\n{line}\n".encode())
    assert told == "line 2 of snapsku.env is not NAME=VALUE; mend it, or begin it with #"


def test_a_file_that_may_not_be_read_is_refused(environment: pytest.MonkeyPatch) -> None:
    def read_bytes(_: Path) -> bytes:
        raise PermissionError(13, os.strerror(13))

    FILE.touch()
    environment.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(SettingsError, match=r"can't be read \(Permission denied\); give it"):
        read_settings()


@pytest.mark.parametrize("text", ["包\uff0c鞋", "包\uff0c 鞋", "包,鞋"])
def test_a_comma_of_a_chinese_keyboard_separates(
    environment: pytest.MonkeyPatch, text: str
) -> None:
    environment.setenv("SNAPSKU_CATEGORIES", text)
    environment.setenv("SNAPSKU_FETCH_ALLOW", "10.0.0.0/8\uff0cfiles.internal")
    found = read_settings()
    assert found.categories == ("包", "鞋")
    assert found.fetch_allow == "10.0.0.0/8,files.internal"
