"""The file of a backup: what goes in comes out, and whatever was done to it is told."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest

from catalog.backup.archive import (
    FORMAT,
    MAGIC,
    Archive,
    ArchiveWriter,
    BackupFileError,
    Manifest,
    open_archive,
)

MANIFEST = Manifest(schema=1, catalogue="abc", model_id="model", written_at="2026-11-22")
ROWS = [{"_id": number, "name": f"蓝色衬衫 {number}"} for number in range(300)]
PICTURES = [{"_id": n, "data": random.Random(n).randbytes(3000)} for n in range(20)]


def write(path: Path, rows: list[dict[str, Any]] = ROWS, manifest: Manifest = MANIFEST) -> Path:
    with path.open("wb") as file, ArchiveWriter(file) as archive:
        archive.write("images", map(bson.encode, rows), is_packed=True)
        archive.write("pictures", map(bson.encode, PICTURES), is_packed=False)
        archive.finish(manifest)
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("archive") / "whole").read_bytes()


def opened(tmp_path: Path, content: bytes) -> Archive:
    path = tmp_path / "file"
    path.write_bytes(content)
    return open_archive(path)


def test_what_was_written_is_read_again_in_its_order(tmp_path: Path) -> None:
    with open_archive(write(tmp_path / "file")) as archive:
        assert list(archive.rows("images")) == ROWS
        assert list(archive.rows("pictures")) == PICTURES
        assert list(archive.rows("images")) == ROWS
        assert list(archive.rows("nothing")) == []
        assert archive.manifest.documents == {"images": 300, "pictures": 20}
        assert (archive.manifest.schema, archive.manifest.format) == (1, FORMAT)


def test_rows_are_packed_and_pictures_are_not(tmp_path: Path) -> None:
    with zipfile.ZipFile(write(tmp_path / "file")) as members:
        sizes = {one.filename: (one.compress_size, one.file_size) for one in members.infolist()}
        assert members.testzip() is None
    assert list(sizes) == [MAGIC, "images.bson", "pictures.bson", "manifest.json"]
    assert sizes["images.bson"][0] < sizes["images.bson"][1] / 2
    assert sizes["pictures.bson"][0] == sizes["pictures.bson"][1]


@pytest.mark.parametrize("kept", [0, 1, 40, 63, 64, 65, 0.2, 0.5, 0.9, -65, -64, -1])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, written: bytes, kept: float) -> None:
    length = int(len(written) * kept) if isinstance(kept, float) else kept
    with pytest.raises(BackupFileError, match=r"is cut or damaged|is no backup"):
        opened(tmp_path, written[:length])


def test_a_flipped_bit_in_any_place_is_told(tmp_path: Path, written: bytes) -> None:
    rng = random.Random(4)
    borders = [0, 30, 44, 60, len(written) - 1, len(written) - 64, len(written) - 65]
    for place in [*borders, *rng.sample(range(len(written)), 200)]:
        changed = bytearray(written)
        changed[place] ^= 1 << rng.randrange(8)
        with pytest.raises(BackupFileError, match=r"is cut or damaged|is no backup"):
            opened(tmp_path, bytes(changed))


def test_something_behind_it_is_told(tmp_path: Path, written: bytes) -> None:
    with pytest.raises(BackupFileError, match="is cut or damaged"):
        opened(tmp_path, written + b"\n")


def foreign_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as members:
        members.writestr("a-member-with-a-long-name.txt", "text" * 30)
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff" * 100, b"text\n" * 100, foreign_zip()])
def test_another_file_is_told_to_be_no_backup(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BackupFileError, match=r"file is no backup of snapsku$"):
        opened(tmp_path, content)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    newer = Manifest(2, "", "", "", format=FORMAT + 1)
    with pytest.raises(BackupFileError, match=f"format {FORMAT + 1}, this release reads format"):
        open_archive(write(tmp_path / "file", manifest=newer))


def test_a_manifest_that_counts_otherwise_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = json.dumps
    monkeypatch.setattr(
        json, "dumps", lambda told, **_: whole(told | {"documents": {"images": 299}})
    )
    path = write(tmp_path / "file")
    monkeypatch.undo()
    with open_archive(path) as archive:
        with pytest.raises(BackupFileError, match="300 documents of images, its manifest says 299"):
            list(archive.rows("images"))
        with pytest.raises(BackupFileError, match="20 documents of pictures"):
            list(archive.rows("pictures"))


def test_documents_that_end_halfway_are_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file, ArchiveWriter(file) as archive:
        archive.write("images", [bson.encode(ROWS[0]), bson.encode(ROWS[1])[:-3]], is_packed=True)
        archive.finish(MANIFEST)
    with open_archive(path) as opened_again, pytest.raises(BackupFileError, match="ends halfway"):
        list(opened_again.rows("images"))


def test_a_source_that_fails_leaves_a_file_that_is_refused(tmp_path: Path) -> None:
    def rows() -> Iterator[bytes]:
        yield bson.encode(ROWS[0])
        raise LookupError("the database is gone")

    path = tmp_path / "file"
    with (
        pytest.raises(LookupError, match="the database is gone"),
        path.open("wb") as file,
        ArchiveWriter(file) as archive,
    ):
        archive.write("images", rows(), is_packed=True)
    with pytest.raises(BackupFileError):
        open_archive(path)


def test_a_full_disk_is_told_as_what_it_is(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any, /) -> int:
            if self.tell() > 20_000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    with pytest.raises(OSError, match="No space left"), ArchiveWriter(Full()) as archive:
        archive.write("pictures", map(bson.encode, PICTURES), is_packed=False)


WRITES_MUCH = """
import os, resource, sys
import bson
from catalog.backup.archive import ArchiveWriter, Manifest, open_archive

picture = bson.encode({"_id": 1, "data": os.urandom(100_000)})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[1], "wb") as file, ArchiveWriter(file) as archive:
    archive.write("pictures", (picture for _ in range(1000)), is_packed=False)
    archive.finish(Manifest(1, "", "", ""))
from pathlib import Path
with open_archive(Path(sys.argv[1])) as archive:
    assert sum(1 for _ in archive.rows("pictures")) == 1000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_table_is_never_held_in_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITES_MUCH, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    assert (tmp_path / "file").stat().st_size > 100_000_000
    assert int(done.stdout) < 30_000
