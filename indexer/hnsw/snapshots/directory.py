"""The snapshots of sets in a directory: a folder for each, its manifest, a file per shard.

Knows nothing of when one is taken, nor of what a vector was made from. A manifest is
the last to be written, under another name first; so a folder holds a whole snapshot at
every moment, or none, and what its manifest does not name is left over.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

from config.files import sync_folder
from indexer.hnsw.exact_shard import ExactShard, ShardBytesError, pack
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.shard import AnyShard, Shard, ShardFileError
from indexer.hnsw.snapshots.checkpoint import NAME, Checkpoint
from indexer.hnsw.snapshots.faults import SnapshotFaults
from indexer.hnsw.snapshots.forked_save import SnapshotError, check_file, read_file, save_shard
from indexer.hnsw.snapshots.manifest import (
    GRAPH_SUFFIX,
    ROWS_SUFFIX,
    Manifest,
    Parameters,
    ShardRecord,
)
from indexer.hnsw.snapshots.whole_file import MalformedRecordError, write_whole
from indexer.key import SetKey

MANIFEST = "manifest"

logger = logging.getLogger(__name__)


class SetSnapshot:
    """The folder of one set. Not safe for use by several threads."""

    def __init__(
        self,
        folder: Path,
        key: SetKey,
        options: IndexOptions,
        parameters: Parameters,
        faults: SnapshotFaults,
    ) -> None:
        self._faults = faults
        self._folder = folder
        self._key = key
        self._options = options
        self._parameters = parameters

    def save_shard(self, shard: AnyShard, seconds: float) -> tuple[int, ShardRecord]:
        """Save a shard to a new file, one with a graph by `forked_save.save_shard`.

        The rows of one without are written by this process: a fork costs more than they do.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SnapshotError(str(error)) from error
        name = uuid.uuid4().hex
        if isinstance(shard, ExactShard):
            return _save_rows(shard, self._folder / (name + ROWS_SUFFIX))
        return save_shard(shard, self._folder / (name + GRAPH_SUFFIX), seconds)

    def commit(self, shards: Sequence[ShardRecord], is_whole: bool = True) -> Manifest:
        """Make saved shards the snapshot, and remove the files of the one before.

        `is_whole` tells whether the set holds all that it should.
        Raises SnapshotError where the snapshot before still is the one, OSError where
        the new one is, but the disk may not keep it.
        """
        manifest = Manifest(self._key, self._parameters, time.time(), tuple(shards), is_whole)
        try:
            # Their names must be on the disk before the manifest that says them.
            sync_folder(self._folder)
            write_whole(self._folder / MANIFEST, manifest.pack())
        except OSError as error:
            raise SnapshotError(str(error)) from error
        sync_folder(self._folder)
        sync_folder(self._folder.parent)
        self.remove_all_but(manifest)
        return manifest

    def discard(self, shards: Iterable[ShardRecord]) -> None:
        """Remove the files of shards that were saved and will not be committed.

        The folder too, where that leaves it empty: without a manifest it would be taken
        for a snapshot that was lost.
        """
        for record in shards:
            (self._folder / record.file).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def load(self, manifest: Manifest) -> list[tuple[AnyShard, ShardRecord]]:
        """Return the shards of the snapshot, without those that are damaged or not there.

        Says in one line of the log what is wrong with each of these. An older snapshot has
        graphs of few vectors: their vectors are read, and the graph is left.
        """
        shards = []
        for record in manifest.shards:
            path = self._folder / record.file
            try:
                shards.append((self._load_shard(path, record), record))
            except (OSError, SnapshotError, ShardFileError, ShardBytesError) as error:
                logger.error("a shard of %s is lost, it will be built anew: %s", self._key, error)
                self._faults.lost()
        return shards

    def _load_shard(self, path: Path, record: ShardRecord) -> AnyShard:
        if path.suffix == ROWS_SUFFIX:
            data = read_file(path, record)
            return ExactShard.unpack(self._options, data, record.live, record.deleted)
        check_file(path, record)
        shard = Shard.load(self._options, path, record.live, record.deleted)
        is_small = record.live + len(record.deleted) <= self._options.exact_up_to
        return shard.without_graph() if is_small else shard

    def remove(self) -> None:
        """Remove the snapshot, if there is one."""
        # The manifest first, so that no half of a snapshot is ever taken for one.
        (self._folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def remove_all_but(self, manifest: Manifest) -> None:
        """Remove the files that the manifest does not name."""
        named = {MANIFEST, *(record.file for record in manifest.shards)}
        for path in self._folder.iterdir():
            if path.name not in named:
                path.unlink()


class SnapshotDirectory:
    """The folders of all sets of one model."""

    def __init__(self, directory: Path, model_id: str, options: IndexOptions) -> None:
        """`directory` is made when the first set is saved, if it is not there."""
        self.faults = SnapshotFaults()
        self._directory = directory
        self._options = options
        self._parameters = Parameters.of(model_id, options)

    def checkpoint(self) -> Checkpoint | None:
        """Return up to when the snapshots hold every change; None where that is not known.

        A checkpoint that can't be used is removed, with one line of the log.
        """
        try:
            return Checkpoint.read(self._directory, self._parameters)
        except (OSError, MalformedRecordError) as error:
            logger.error("checkpoint is lost, all sets are compared with the rows: %s", error)
            self.remove_checkpoint()
            return None

    def keep_checkpoint(self, until: int, folders: Sequence[str]) -> bool:
        """Note that what was shown before `until` is in these folders; False if it failed."""
        try:
            Checkpoint(self._parameters, until, tuple(folders)).write(self._directory)
        except OSError as error:
            logger.error("no checkpoint, a restart takes longer: %s", error)
            return False
        return True

    def remove_checkpoint(self) -> None:
        """Have all sets compared with the rows by the next process."""
        with contextlib.suppress(OSError):
            (self._directory / NAME).unlink(missing_ok=True)

    @staticmethod
    def name_of(key: SetKey) -> str:
        """Return the name of the folder of a set."""
        # A category may be any text; what it is, the manifest says.
        name = quote(key.generation, safe="")
        return f"{name}-{hashlib.sha256(key.category.encode()).hexdigest()[:16]}"

    @staticmethod
    def generation_of(folder: str) -> str:
        """Return the generation of a set by the name of its folder."""
        return unquote(folder.rpartition("-")[0])

    def of(self, key: SetKey) -> SetSnapshot:
        """Return the folder of a set, whether it is there or not."""
        return SetSnapshot(self._folder(key), key, self._options, self._parameters, self.faults)

    def find(self) -> Iterator[Manifest]:
        """Return the manifests of all sets; the files of shards are not looked at yet.

        What can't be read, or was made with other parameters, is removed, with one line
        of the log; what a killed process left over is removed without one.
        """
        for folder in self._folders():
            try:
                manifest = Manifest.unpack((folder / MANIFEST).read_bytes())
                if self._folder(manifest.key) != folder:
                    raise MalformedRecordError(f"it is the one of {manifest.key}")
                if manifest.parameters != self._parameters:
                    raise MalformedRecordError(
                        f"it was made with {manifest.parameters}, not {self._parameters}"
                    )
                self.of(manifest.key).remove_all_but(manifest)
                # One object for all sets: each manifest brings its own.
                manifest = replace(manifest, parameters=self._parameters)
            except (OSError, MalformedRecordError) as error:
                logger.error("snapshot %s is lost, its set is built anew: %s", folder.name, error)
                shutil.rmtree(folder, ignore_errors=True)
                self.faults.lost()
                continue
            yield manifest

    def _folders(self) -> list[Path]:
        try:
            return sorted(path for path in self._directory.iterdir() if path.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            logger.error("all snapshots are lost, all sets are built anew: %s", error)
            self.faults.lost()
            return []

    def _folder(self, key: SetKey) -> Path:
        return self._directory / self.name_of(key)


def _save_rows(shard: ExactShard, path: Path) -> tuple[int, ShardRecord]:
    """Do what `forked_save.save_shard` does, in this process."""
    rows = shard.rows
    data = pack(rows)
    try:
        write_whole(path, data)
    except OSError as error:
        raise SnapshotError(error.strerror or str(error)) from error
    record = ShardRecord(
        path.name,
        len(data),
        hashlib.sha256(data).hexdigest(),
        rows.total - len(rows.marked),
        tuple(rows.marked),
    )
    return rows.changes, record
