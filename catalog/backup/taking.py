"""Taking a backup: write a catalogue into a file, and read the file back before it counts."""

from __future__ import annotations

import os
from pathlib import Path

from pymongo import MongoClient

from catalog.backup.archive import Archive, ArchiveWriter, BackupFileError, Manifest, open_archive
from catalog.backup.consistent_rows import ConsistentRows, Contents
from catalog.backup.dumping import TABLES, Progress, dump
from catalog.coordination.catalogue_id import CatalogueId
from catalog.database.connection import Row, databases, now
from catalog.rows.models import Models
from catalog.schema.version import SCHEMA, Schema
from config.files import sync_folder


class NothingToBackUpError(Exception):
    """The database has no catalogue that can be backed up; one line for an operator."""


def take_backup(client: MongoClient[Row], name: str, path: Path, progress: Progress) -> Contents:
    """Write the catalogue `name` to `path`, and return the counts of what a restore brings back.

    The file is named `path` with `.part` until it was read back. The service may keep running.
    Raises NothingToBackUpError if there is no catalogue of this version, or if it changed its
    model meanwhile; BackupFileError if `path` exists or the file was not written correctly;
    OSError if it can't be written; and PyMongoError.
    """
    _require_free(path)
    manifest = _describe(client, name)
    models = _models(client, name)
    draft = path.with_name(f"{path.name}.part")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file, ArchiveWriter(file) as archive:
            for part in dump(client, name, progress):
                archive.write(part.table, part.documents, is_packed=part.is_rows)
            if _describe(client, name).schema != manifest.schema:
                raise NothingToBackUpError("the rows were migrated meanwhile; take it again")
            later = _models(client, name)
            if any(later.get(generation, model) != model for generation, model in models.items()):
                # Some vectors were read before the switch, and the collection after it.
                raise NothingToBackUpError("a collection changed its model meanwhile; do it again")
            archive.finish(manifest)
        contents = check_backup(draft, progress)
        _require_free(path)
        draft.rename(path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)
    return contents


def check_backup(path: Path, progress: Progress) -> Contents:
    """Read all of a backup, and return the counts of what a restore of it brings back.

    Raises BackupFileError if it is damaged, OSError if it can't be read.
    """
    with open_archive(path) as archive:
        return read_through(archive, progress).contents


def read_through(archive: Archive, progress: Progress) -> ConsistentRows:
    """Read every table of a backup, and return which of its rows are restored.

    Raises BackupFileError if a table is damaged or unknown.
    """
    documents = archive.manifest.documents
    unknown = sorted(documents.keys() - set(TABLES))
    if unknown:
        raise BackupFileError(
            f"the backup has tables that this release does not know: {', '.join(unknown)}"
        )
    total = sum(documents.values())
    done = 0
    for table in TABLES:
        for _ in archive.rows(table):
            done += 1
            if done % 1000 == 0:
                progress("checking", done, total)
    progress("checking", total, total)
    return ConsistentRows(archive)


def _require_free(path: Path) -> None:
    if path.exists():
        raise BackupFileError(f"{path} is there already; a backup never replaces a file")


def _describe(client: MongoClient[Row], name: str) -> Manifest:
    rows, blobs = databases(client, name)
    version = Schema(rows, blobs).current()
    if version is None:
        raise NothingToBackUpError(
            f"database {name} has no catalogue; check SNAPSKU_MONGO_URL, SNAPSKU_MONGO_DATABASE "
            "and SNAPSKU_DATA_DIR"
        )
    if version != SCHEMA:
        raise NothingToBackUpError(
            f"the rows have version {version}, this code knows version {SCHEMA}; back up with the "
            "release that runs"
        )
    model = Models(rows["models"], rows["collections"]).current()
    return Manifest(
        schema=version,
        catalogue=CatalogueId(rows["schema"]).get(),
        model_id="" if model is None else model.model_id,
        written_at=now().isoformat(),
    )


def _models(client: MongoClient[Row], name: str) -> dict[str, str | None]:
    """Return the model that the searches of each collection use, by generation."""
    found = databases(client, name)[0]["collections"].find({}, ["generation", "model_id"])
    return {row["generation"]: row["model_id"] for row in found}
