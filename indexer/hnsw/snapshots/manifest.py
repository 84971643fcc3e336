"""The manifest of a snapshot: the files of a set, in a record with a checksum."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.whole_file import MalformedRecordError, pack_record, unpack_record
from indexer.key import SetKey

#: The version of the file format. A set whose snapshot has another version is rebuilt.
FORMAT = 1


#: The suffix of a file that hnswlib wrote.
GRAPH_SUFFIX = ".hnsw"

#: The suffix of a file with the labels and vectors of an exact shard.
ROWS_SUFFIX = ".rows"

SUFFIXES = (GRAPH_SUFFIX, ROWS_SUFFIX)


@dataclass(frozen=True)
class Parameters:
    """The parameters that a snapshot depends on; with other values it can't be used."""

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
    """The file of a shard: its name, size in bytes, SHA-256 in hex, and its labels.

    `live` is the number of live labels, `deleted` has the marked ones.
    """

    file: str
    size: int
    sha256: str
    live: int
    deleted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a set; `written_at` is in seconds since 1970.

    `is_whole` says whether the set was ready. Manifests of earlier releases lack it and count as
    whole: their checkpoints were written only when all sets were ready.
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
        """Return the manifest in bytes that `pack` made. Raises MalformedRecordError."""
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
