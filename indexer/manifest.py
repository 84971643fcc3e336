"""What a snapshot of a set consists of, as bytes that tell when they were damaged.

Knows nothing of where the bytes are kept. The form is a line with the SHA-256 of all
that follows, then JSON; reading it can build nothing but numbers, strings and lists.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexer.key import SetKey
from indexer.options import IndexOptions

FORMAT = 1
"""Version of the form. A snapshot of another version is not read, its set is built anew."""


GRAPH_SUFFIX = ".hnsw"
"""Ends the name of a file that hnswlib wrote."""

ROWS_SUFFIX = ".rows"
"""Ends the name of a file of labels and vectors alone, of a shard without a graph."""

SUFFIXES = (GRAPH_SUFFIX, ROWS_SUFFIX)


class ManifestError(Exception):
    """The bytes are no manifest, or no whole one; the text says why."""


@dataclass(frozen=True)
class Parameters:
    """What a shard's file can't be read or used without; another value makes it foreign."""

    model_id: str
    dimensions: int
    m: int
    ef_construction: int
    shard_capacity: int

    @classmethod
    def of(cls, model_id: str, options: IndexOptions) -> Parameters:
        """Give the parameters of an index of that model."""
        return cls(
            model_id,
            options.dimensions,
            options.m,
            options.ef_construction,
            options.shard_capacity,
        )


@dataclass(frozen=True)
class ShardRecord:
    """A shard's file: its name, size in bytes, SHA-256 in hex, and what is in it."""

    file: str
    size: int
    sha256: str
    live: int
    deleted: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """A snapshot of a set; `written_at` is in seconds since the epoch.

    `is_whole` tells whether the set held all that it should. Manifests of earlier releases do
    not say it; they count by what a checkpoint says, which was written when all sets did.
    """

    key: SetKey
    parameters: Parameters
    written_at: float
    shards: tuple[ShardRecord, ...]
    is_whole: bool = True

    def pack(self) -> bytes:
        """Give the bytes that `unpack` reads."""
        fields = {**asdict(self), "key": self.key._asdict(), "format": FORMAT}
        body = json.dumps(fields, ensure_ascii=False).encode()
        return hashlib.sha256(body).hexdigest().encode() + b"\n" + body

    @classmethod
    def unpack(cls, data: bytes) -> Manifest:
        """Give the manifest that `pack` made. Raises ManifestError."""
        checksum, _, body = data.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            raise ManifestError("its checksum is wrong")
        fields: dict[str, Any] = json.loads(body)
        if fields.get("format") != FORMAT:
            raise ManifestError(f"its format is {fields.get('format')}, not {FORMAT}")
        try:
            shards = tuple(
                ShardRecord(**{**shard, "deleted": tuple(shard["deleted"])})
                for shard in fields["shards"]
            )
            found = cls(
                SetKey(**fields["key"]),
                Parameters(**fields["parameters"]),
                fields["written_at"],
                shards,
                bool(fields.get("is_whole", True)),
            )
        except (KeyError, TypeError) as error:
            raise ManifestError(f"its fields are not those of a manifest: {error}") from error
        names = [Path(shard.file) for shard in shards]
        if any(name.suffix not in SUFFIXES or len(name.parts) != 1 for name in names):
            raise ManifestError("it names a file outside of its folder")
        return found
