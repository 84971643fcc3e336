"""The file of a backup: a ZIP of tables, each a run of BSON documents as mongodump writes them.

It is written sequentially and never held in memory. Its last 64 characters, the comment of the
ZIP, are the SHA-256 of everything before them, so a file that was truncated or changed anywhere
is refused before any of it is used. Any ZIP and BSON program reads it.

`catalog.backup.taking` writes it, and reads it back before the backup counts; `cli.backup` opens
it to restore. The tables are listed in `catalog.backup.dumping`. Old files must stay readable, so a
change of what is written wants a new FORMAT.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import bson
from bson.errors import BSONError

#: The format version that this code writes, and the newest that it reads.
FORMAT = 1

#: The name of the first member, at the same offset in every backup, identifies the file.
MAGIC = "snapsku-backup"
MANIFEST = "manifest.json"

#: Bytes of the header of a ZIP member before its name.
_NAME_OFFSET = 30

#: Characters of a SHA-256 in hexadecimal.
_SEAL = 64

#: Bytes that are read at a time.
_PIECE = 2**20

#: Bytes. MongoDB allows 16 MiB: a greater length is damage, and must not ask for so much memory.
_LONGEST_DOCUMENT = 2**26

#: What zipfile, json and bson raise for damaged data.
_FAULTS = (zipfile.BadZipFile, zlib.error, BSONError, KeyError, TypeError, ValueError, EOFError)


class BackupFileError(Exception):
    """A file is not a backup, or is damaged; the text is one line for an operator."""


@dataclass(frozen=True)
class Manifest:
    """The metadata of a backup, the last member of the ZIP."""

    schema: int  #: the version of the rows
    catalogue: str  #: the id of the catalogue that was backed up
    model_id: str  #: the model of new collections; empty if there was none
    written_at: str  #: when the backup began, in ISO 8601
    documents: dict[str, int] = field(default_factory=dict)  #: how many, by table
    format: int = FORMAT


class _Sealed(io.RawIOBase):
    """An append-only file that ends with the SHA-256 of the rest.

    After an OSError it accepts and drops all further data, so that the ZIP can be closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._held = b""
        self._is_broken = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        pending = self._held + bytes(data)
        # Held back, since the seal takes the place of the last bytes.
        ready, self._held = pending[:-_SEAL], pending[-_SEAL:]
        if not self._is_broken:
            self._digest.update(ready)
            try:
                self._file.write(ready)
            except OSError:
                self._is_broken = True
                raise
        return len(data)

    def seal(self) -> None:
        """Write the digest in place of the last bytes, and wait until the disk has everything."""
        self._file.write(self._digest.hexdigest().encode("ascii"))
        self._file.flush()
        os.fsync(self._file.fileno())


class ArchiveWriter:
    """Writes a backup: `write` for each table, then `finish`, in a `with` block.

    At its end the block closes the ZIP and seals the file. After an exception it does not seal it,
    so `open_archive` refuses the file, as it does if `finish` was not called.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._sealed = _Sealed(file)
        self._zip = zipfile.ZipFile(self._sealed, "w", allowZip64=True)
        self._zip.comment = b"0" * _SEAL
        self._documents: dict[str, int] = {}

    def __enter__(self) -> ArchiveWriter:
        self._write(MAGIC, [b"%d\n" % FORMAT], is_packed=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()
        if kind is None:
            self._sealed.seal()

    def write(self, table: str, documents: Iterable[bytes], *, is_packed: bool) -> None:
        """Write a table of BSON documents, compressed if `is_packed`. Raises OSError.

        Blobs are written without: pictures and vectors hardly shrink.
        """
        self._documents[table] = self._write(f"{table}.bson", documents, is_packed=is_packed)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest as the last member, with the counts of what was written.

        What the manifest itself says in `documents` is replaced. Raises OSError.
        """
        told = asdict(manifest) | {"documents": self._documents}
        text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
        self._write(MANIFEST, [text.encode("utf-8")], is_packed=False)

    def _write(self, name: str, pieces: Iterable[bytes], *, is_packed: bool) -> int:
        member = zipfile.ZipInfo(name, time.localtime()[:6])
        member.compress_type = zipfile.ZIP_DEFLATED if is_packed else zipfile.ZIP_STORED
        member.external_attr = 0o600 << 16
        count = 0
        with self._zip.open(member, "w", force_zip64=True) as file:
            for piece in pieces:
                file.write(piece)
                count += 1
        return count


class Archive:
    """An open backup whose checksum was verified; made by `open_archive`, closed by `with`."""

    def __init__(self, path: Path, members: zipfile.ZipFile, checksum: str) -> None:
        self._path = path
        self._members = members
        #: The SHA-256 of the file, 64 characters; a restore that goes on knows its backup by it.
        self.checksum = checksum
        with _faults(path), members.open(MANIFEST) as file:
            self.manifest = _read_manifest(path, file.read())

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._members.close()

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Yield the decoded documents of a table; none if the backup lacks that table.

        Raises BackupFileError if a document is damaged or their count differs from the
        manifest's.
        """
        count = 0
        for data in self.documents(table):
            with _faults(self._path):
                row = bson.decode(data)
            yield row
            count += 1
        if count != self.manifest.documents.get(table, 0):
            raise BackupFileError(
                f"{self._path} is damaged: {count} documents of {table}, its manifest says "
                f"{self.manifest.documents.get(table, 0)}"
            )

    def documents(self, table: str) -> Iterator[bytes]:
        """Yield the documents of a table as raw BSON; none if the backup lacks that table.

        Raises BackupFileError if a document is truncated.
        """
        if f"{table}.bson" not in self._members.namelist():
            return
        with (
            _faults(self._path),
            self._members.open(f"{table}.bson") as packed,
            # Unbuffered, every document would be two reads of a ZIP member.
            io.BufferedReader(packed, _PIECE) as file,  # type: ignore[type-var]
        ):
            while header := file.read(4):
                length = int.from_bytes(header, "little")
                rest = file.read(length - 4) if 4 < length <= _LONGEST_DOCUMENT else b""
                if len(rest) != length - 4:
                    raise BackupFileError(f"{self._path} is damaged: {table} ends halfway")
                yield header + rest


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Turn what a damaged ZIP or BSON raises into BackupFileError."""
    try:
        yield
    except _FAULTS as error:
        raise BackupFileError(f"{path} is damaged: {error}") from error


def _read_manifest(path: Path, text: bytes) -> Manifest:
    """Return the manifest. Raises BackupFileError if a newer release wrote the file."""
    told = json.loads(text)
    if told["format"] > FORMAT:
        raise BackupFileError(
            f"{path} is a backup of format {told['format']}, this release reads format {FORMAT}; "
            "restore it with the release that wrote it"
        )
    return Manifest(**told)


def open_archive(path: Path) -> Archive:
    """Verify the checksum of a backup, which reads all of it, and return it open.

    Raises BackupFileError if the file is not a backup, is truncated or was changed; OSError if
    it can't be read.
    """
    with path.open("rb") as file:
        begin = file.read(_NAME_OFFSET + len(MAGIC))
        if not (begin.startswith(b"PK") and begin.endswith(MAGIC.encode("ascii"))):
            raise BackupFileError(f"{path} is no backup of snapsku")
        digest = hashlib.sha256()
        left = os.fstat(file.fileno()).st_size - _SEAL
        file.seek(0)
        while left > 0 and (piece := file.read(min(_PIECE, left))):
            digest.update(piece)
            left -= len(piece)
        if file.read() != digest.hexdigest().encode("ascii"):
            raise BackupFileError(
                f"{path} is cut or damaged: its checksum is not that of its content"
            )
    with _faults(path):
        members = zipfile.ZipFile(path)
    try:
        return Archive(path, members, digest.hexdigest())
    except BaseException:
        members.close()
        raise
