"""A generated catalogue as files: made once by an embedded server, and copied for each use."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from catalog.database.connection import Row, databases
from catalog.rows.models import ModelRow
from catalog.schema.indexes import create_indexes
from catalog.schema.version import SCHEMA, Schema
from catalog.store import Catalog
from config.settings import Settings
from tests.catalogues import default_catalog
from tests.e2e.own_servers import OwnServers
from tests.volume.catalog import Generator, Shape
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.vector_engine import HnswEngine

DATABASE = "snapsku"
#: Rows sent at a time.
BATCH = 2_000
STOP_SECONDS = 120.0
#: Says that the files beside it are whole, and what they were made with.
SEAL = "made.json"


def default_model() -> ModelRow:
    """Load the model of the default settings, and return what the catalogue keeps of it."""
    from workers.support.model import load_from, row_of

    return row_of(load_from(Settings()))


def write_catalog(client: MongoClient[Row], name: str, generator: Generator) -> dict[str, int]:
    """Write a generated catalogue into empty databases; return how many rows of each table."""
    Schema(*databases(client, name)).bring_up_to_date()
    counts: dict[str, int] = {}
    for pieces in generator.pieces():
        for database, tables in zip(databases(client, name), pieces, strict=True):
            for table, rows in tables.items():
                counts[table] = counts.get(table, 0) + len(rows)
                for start in range(0, len(rows), BATCH):
                    database[table].insert_many(rows[start : start + BATCH], ordered=False)
    # At the end: an index that grows with its rows takes longer.
    create_indexes(client, name)
    return {table: count for table, count in counts.items() if count}


def build_index(catalog: Catalog, data_dir: Path) -> CatalogIndex:
    """Build the shards as an index process does, and save them where that looks for them."""
    shards = CatalogIndex(
        lambda: catalog, HnswEngine(Settings().shard_capacity, data_dir / "index" / "sets")
    )
    for index in shards.restore():
        for key in index.unsaved():
            assert index.save(key), f"{key} was not saved"
    return shards


def made(folder: Path, shape: Shape) -> Path:
    """Return the folder with the files of a catalogue, which are made if they are not there.

    Files of an older schema are migrated, those of another model made anew.
    """
    kept = folder.resolve() / shape.name
    model = default_model()
    sealed = _seal(kept)
    if sealed.get("model") == model.model_id:
        if sealed["schema"] != SCHEMA:
            _migrate(kept)
            _write_seal(kept, sealed | {"schema": SCHEMA})
        return kept
    shutil.rmtree(kept, ignore_errors=True)
    print(f"making {shape.images} images in {kept}", flush=True)
    (kept / "servers").mkdir(parents=True)
    begun = time.monotonic()
    generator = Generator(shape, model)
    with _mongo(kept) as client:
        counts = write_catalog(client, DATABASE, generator)
        print(f"rows written, {time.monotonic() - begun:.0f} s: {counts}", flush=True)
        build_index(default_catalog(client, DATABASE), kept / "data")
    seal = {
        "schema": SCHEMA,
        "model": model.model_id,
        "rows": counts,
        "open_tasks": generator.open_tasks,
        "failed_images": generator.failed_images,
        "seconds": round(time.monotonic() - begun),
        "bytes": _size(kept),
    }
    _write_seal(kept, seal)
    print(f"made: {seal}", flush=True)
    return kept


def _migrate(kept: Path) -> None:
    begun = time.monotonic()
    with _mongo(kept) as client:
        Schema(*databases(client, DATABASE)).bring_up_to_date()
        create_indexes(client, DATABASE)
    print(f"{kept.name} migrated in {time.monotonic() - begun:.0f} s", flush=True)


@contextmanager
def _mongo(kept: Path) -> Iterator[MongoClient[Row]]:
    """Run the document database on these files."""
    servers = OwnServers(kept / "servers")
    servers.start("mongo")
    try:
        with MongoClient[Row](servers.mongo_url) as client:
            yield client
        # Not killed: it writes back its journal, so that the files are whole without it.
        servers.processes["mongo"].terminate()
        servers.processes["mongo"].wait(STOP_SECONDS)
    finally:
        servers.stop()


def _write_seal(kept: Path, seal: Mapping[str, Any]) -> None:
    (kept / SEAL).write_text(json.dumps(seal, indent=1), encoding="utf-8")


def _seal(kept: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((kept / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def copied(kept: Path, target: Path) -> Iterator[Path]:
    """Copy the files of a catalogue, and remove the copy when the context ends."""
    shutil.copytree(kept, target)
    try:
        yield target
    finally:
        shutil.rmtree(target, ignore_errors=True)
