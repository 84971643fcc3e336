"""Up to which moment the snapshots of a folder hold every change, in a file beside them."""

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

FORMAT = 1
"""Version of the form. A checkpoint of another version counts as none."""

NAME = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """A promise: what was shown before `until` is in the snapshots of these `folders`.

    `until` is in milliseconds of the clock that the caller goes by. A folder that is missing,
    or whose set was not whole, takes its generation out of the promise.
    """

    parameters: Parameters
    until: int
    folders: tuple[str, ...]

    def write(self, directory: Path) -> None:
        """Replace the checkpoint of a directory, as a whole or not at all; raises OSError."""
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / NAME, pack_record(asdict(self), FORMAT))

    @classmethod
    def read(cls, directory: Path, parameters: Parameters) -> Checkpoint | None:
        """Return the checkpoint of a directory, None where it has none.

        Raises MalformedRecordError for one that is damaged or was made with other parameters,
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
