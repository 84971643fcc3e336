"""What a snapshot of a set consists of, as a record that tells when it was damaged."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.whole_file import MalformedRecordError, pack_record, unpack_record
from indexer.key import SetKey

FORMAT = 1
"""Version of the form. A snapshot of another version is not read, its set is built anew."""


GRAPH_SUFFIX = ".hnsw"
"""Ends the name of a file that hnswlib wrote."""

ROWS_SUFFIX = ".rows"
"""Ends the name of a file of labels and vectors alone, of a shard without a graph."""

SUFFIXES = (GRAPH_SUFFIX, ROWS_SUFFIX)


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
        """Return the parameters of an index of that model."""
        return cls(
            model_id,
            options.dimensions,
            options.m,
            options.ef_construction,
            options.shard_capacity,
        )


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """A shard's file: its name, size in bytes, SHA-256 in hex, and what is in it."""

    file: str
    size: int
    sha256: str
    live: int
    deleted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
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
        """Return the bytes that `unpack` reads."""
        return pack_record({**asdict(self), "key": self.key._asdict()}, FORMAT)

    @classmethod
    def unpack(cls, data: bytes) -> Manifest:
        """Return the manifest that `pack` made. Raises MalformedRecordError."""
        fields = unpack_record(data, FORMAT)
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
            raise MalformedRecordError(f"not the fields of a manifest: {error}") from error
        names = [Path(shard.file) for shard in shards]
        if any(name.suffix not in SUFFIXES or len(name.parts) != 1 for name in names):
            raise MalformedRecordError("it names a file outside of its folder")
        return found
