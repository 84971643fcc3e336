"""Up to which moment the snapshots of a folder hold every change, in a file beside them.

The form is that of a manifest: a line with the SHA-256 of all that follows, then JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from indexer.manifest import Parameters

FORMAT = 1
"""Version of the form. A checkpoint of another version counts as none."""

NAME = "checkpoint"

SUFFIX = ".part"


class CheckpointError(Exception):
    """The file is no checkpoint of this folder; the text says why."""


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
        body = json.dumps({**asdict(self), "format": FORMAT}).encode()
        part = directory / (NAME + SUFFIX)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
                file.flush()
                os.fsync(file.fileno())
            part.rename(directory / NAME)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    @classmethod
    def read(cls, directory: Path, parameters: Parameters) -> Checkpoint | None:
        """Return the checkpoint of a directory, None where it has none.

        Raises CheckpointError for one that is damaged or was made with other parameters,
        OSError.
        """
        try:
            data = (directory / NAME).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        checksum, _, body = data.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            raise CheckpointError("its checksum is wrong")
        fields = json.loads(body)
        if fields.get("format") != FORMAT:
            raise CheckpointError(f"its format is {fields.get('format')}, not {FORMAT}")
        try:
            found = cls(
                Parameters(**fields["parameters"]), int(fields["until"]), tuple(fields["folders"])
            )
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"its fields are not those of a checkpoint: {error}") from error
        if found.parameters != parameters:
            raise CheckpointError(f"it was made with {found.parameters}, not {parameters}")
        return found
