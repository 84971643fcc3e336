"""Files that are written whole or not at all, and records in them that tell when they were damaged.

A record is a line with the SHA-256 of all that follows, then JSON; reading it can build nothing but
numbers, strings and lists.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SUFFIX = ".part"
"""Ends the name of a file that is not whole yet."""


class MalformedRecordError(Exception):
    """The bytes are no record, not a whole one, or one of something else; the text says why."""


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file, as a whole or not at all; raises OSError. Its name is not synced."""
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
    """Return the bytes of a record that has this version of its form."""
    body = json.dumps({**fields, "format": version}, ensure_ascii=False).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def unpack_record(data: bytes, version: int) -> dict[str, Any]:
    """Return the fields of a record. Raises MalformedRecordError."""
    checksum, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise MalformedRecordError("its checksum is wrong")
    fields: dict[str, Any] = json.loads(body)
    if fields.get("format") != version:
        raise MalformedRecordError(f"its format is {fields.get('format')}, not {version}")
    return fields
