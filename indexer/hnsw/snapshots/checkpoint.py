"""The checkpoint file: until which time the snapshots of a directory have every change."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from indexer.hnsw.snapshots.manifest import Parameters
from indexer.hnsw.snapshots.whole_file import (
    MalformedRecordError,
    pack_record,
    unpack_record,
    write_whole,
)

#: The version of the file format. A checkpoint of another version counts as damaged.
FORMAT = 1

NAME = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """The statement that every change before `until` is in the snapshots of these `folders`.

    `until` is in milliseconds of the caller's clock. It does not hold for a generation of which
    a folder is missing, or a set was not whole.
    """

    parameters: Parameters
    until: int
    folders: tuple[str, ...]

    def write(self, directory: Path) -> None:
        """Replace the checkpoint of a directory atomically; raises OSError."""
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / NAME, pack_record(asdict(self), FORMAT))

    @classmethod
    def read(cls, directory: Path, parameters: Parameters) -> Checkpoint | None:
        """Return the checkpoint of a directory, None if it has none.

        Raises MalformedRecordError if it is damaged or was made with other parameters, and
        OSError.
        """
        try:
            data = (directory / NAME).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        fields = unpack_record(data, FORMAT)
        try:
            found = cls(
                Parameters(**fields["parameters"]), int(fields["until"]), tuple(fields["folders"])
            )
        except (KeyError, TypeError) as error:
            raise MalformedRecordError(
                f"its fields are not those of a checkpoint: {error}"
            ) from error
        if found.parameters != parameters:
            raise MalformedRecordError(f"it was made with {found.parameters}, not {parameters}")
        return found
