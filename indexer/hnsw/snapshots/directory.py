"""The snapshots of sets in a directory: for each a folder with a manifest and a file per shard.

The manifest is written last, under another name first. So a folder has a complete snapshot at
every moment, or none, and files that its manifest does not name are garbage.
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
    """The folder of one set. Not thread-safe."""

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
        """Save a shard to a new file; return its count of changes at that moment, and the record.

        A shard with a graph is saved by `forked_save.save_shard`; an exact one by this process,
        since a fork costs more. Raises SnapshotError.
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
        """Make saved shards the snapshot, and remove the files of the previous one.

        `is_whole` says whether the set is ready. Raises SnapshotError if the previous snapshot
        is still in place; OSError if the new one is, but may not survive a power cut.
        """
        manifest = Manifest(self._key, self._parameters, time.time(), tuple(shards), is_whole)
        try:
            # The file names must be on disk before the manifest that names them.
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

        An empty folder is removed too: without a manifest it would count as a lost snapshot.
        """
        for record in shards:
            (self._folder / record.file).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def load(self, manifest: Manifest) -> list[tuple[AnyShard, ShardRecord]]:
        """Return the shards of the snapshot; damaged and missing ones are logged and left out.

        A graph of few vectors, from an older release, is loaded as an exact shard.
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
        return shard.without_graph() if shard.vectors <= self._options.exact_up_to else shard

    def remove(self) -> None:
        """Remove the snapshot, if there is one."""
        # The manifest first, so that a partial snapshot is never taken for a complete one.
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
        """Take the directory, which is created when the first set is saved."""
        self.faults = SnapshotFaults()
        self._directory = directory
        self._options = options
        self._parameters = Parameters.of(model_id, options)

    def checkpoint(self) -> Checkpoint | None:
        """Return the checkpoint, None if there is none; an unusable one is logged and removed."""
        try:
            return Checkpoint.read(self._directory, self._parameters)
        except (OSError, MalformedRecordError) as error:
            logger.error("checkpoint is lost, all sets are compared with the rows: %s", error)
            self.remove_checkpoint()
            return None

    def keep_checkpoint(self, until: int, folders: Sequence[str]) -> bool:
        """Write a checkpoint; log and return False if that fails."""
        try:
            Checkpoint(self._parameters, until, tuple(folders)).write(self._directory)
        except OSError as error:
            logger.error("no checkpoint, a restart takes longer: %s", error)
            return False
        return True

    def remove_checkpoint(self) -> None:
        """Remove the checkpoint, so that the next process compares all sets with the rows."""
        with contextlib.suppress(OSError):
            (self._directory / NAME).unlink(missing_ok=True)

    @staticmethod
    def name_of(key: SetKey) -> str:
        """Return the name of the folder of a set."""
        # A category may be any text, so the name has its hash; the manifest has the category.
        name = quote(key.generation, safe="")
        return f"{name}-{hashlib.sha256(key.category.encode()).hexdigest()[:16]}"

    @staticmethod
    def generation_of(folder: str) -> str:
        """Return the generation of the set with that folder name."""
        return unquote(folder.rpartition("-")[0])

    def of(self, key: SetKey) -> SetSnapshot:
        """Return the snapshot of a set, which need not exist."""
        return SetSnapshot(self._folder(key), key, self._options, self._parameters, self.faults)

    def find(self) -> Iterator[Manifest]:
        """Yield the manifests of all sets, without reading the files of shards.

        A snapshot that can't be read, or was made with other parameters, is logged and removed;
        files that a killed process left are removed silently.
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
                # Share one object: each manifest has a copy of its own.
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
    """Save an exact shard in this process, otherwise like `forked_save.save_shard`."""
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
        rows.images - len(rows.marked),
        tuple(rows.marked),
    )
    return rows.changes, record
