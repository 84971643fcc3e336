"""Files that are written atomically, and records with a checksum.

A record is a line with the SHA-256 of the rest, then JSON, so that reading one runs no code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: The suffix of a file that is not complete yet.
SUFFIX = ".part"


class MalformedRecordError(Exception):
    """The bytes are no record, are damaged, or have other fields; the text says why."""


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file atomically; raises OSError. The caller syncs the folder."""
    part = path.with_name(path.name + SUFFIX)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def pack_record(fields: Mapping[str, Any], version: int) -> bytes:
    """Return the bytes of a record with a version of its format."""
    body = json.dumps({**fields, "format": version}, ensure_ascii=False).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def unpack_record(data: bytes, version: int) -> dict[str, Any]:
    """Return the fields of a record; raises MalformedRecordError for damage or another version."""
    checksum, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise MalformedRecordError("its checksum is wrong")
    fields: dict[str, Any] = json.loads(body)
    if fields.get("format") != version:
        raise MalformedRecordError(f"its format is {fields.get('format')}, not {version}")
    return fields
