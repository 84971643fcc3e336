"""Rows and snapshots that an earlier state of the program wrote are read by the one of today."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.backup.archive import open_archive
from catalog.backup.restoring import restore
from catalog.backup.taking import read_through
from catalog.database.connection import connect_patiently
from catalog.rows.images import SUCCEEDED
from catalog.rows.models import ModelRow
from catalog.schema.version import SCHEMA
from catalog.store import Catalog
from config.refusal import REFUSED
from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory
from tests.catalogues import default_catalog
from tests.integration.operations.programs import environment
from tests.servers import Servers

OLD = Path(__file__).resolve().parents[2] / "releases" / "be33d9c"
WEIGHTS = Path(__file__).resolve().parents[3] / "vision" / "trained"
#: The version of the rows that it reads and writes.
OLD_SCHEMA = 3
OLD_WORKER = ("-m", "celery", "-A", "workers.vision", "worker", "-Q", "vision", "-P", "prefork")
PRODUCTS = 4
IMAGES = 6


@pytest.fixture
def catalog(servers: Servers, target: str) -> Iterator[Catalog]:
    """The catalogue of the old backup, restored by the program of today."""
    with (
        connect_patiently(servers.mongo_url, 5) as client,
        open_archive(OLD / "backup.zip") as archive,
    ):
        assert archive.manifest.schema < SCHEMA
        restore(
            client,
            target,
            archive,
            read_through(archive, lambda *_: None),
            schema=archive.manifest.schema,
            catalogue=archive.manifest.catalogue,
            checksum=archive.checksum,
            progress=lambda *_: None,
        )
        yield default_catalog(client, target)


def test_an_old_backup_is_restored_with_its_products_images_vectors_and_pictures(
    catalog: Catalog,
) -> None:
    (collection,) = catalog.collections.all()
    images = catalog.images.find([*range(1, 1_000)])
    assert (collection.product_count, collection.image_count) == (PRODUCTS, IMAGES)
    assert [image.outcome for image in images.values()] == [SUCCEEDED] * IMAGES
    assert all(image.is_findable for image in images.values())
    model = catalog.models.current()
    assert model is not None
    assert catalog.vectors.models(list(images)) == {n: {model.model_id} for n in images}
    assert catalog.pictures.get(list(images)).keys() == images.keys()


def test_old_snapshots_are_searched_as_they_are(catalog: Catalog, tmp_path: Path) -> None:
    sets = tmp_path / "sets"
    shutil.copytree(OLD / "sets", sets)
    model = catalog.models.current()
    assert model is not None
    with open_archive(OLD / "backup.zip") as archive:
        name = f"{archive.manifest.catalogue}/{model.model_id}"
    options = IndexOptions(dimensions=model.dimensions, shard_capacity=100_000)
    index = VectorIndex(options, SnapshotDirectory(sets, name, options))
    (key,) = index.keys()
    assert index.whole() == [key]
    index.now_ready(key)
    vectors = catalog.vectors.of_models([*range(1, 1_000)])
    assert index.live_labels(key) == vectors.keys()
    assert len(vectors) == IMAGES
    for label, models in vectors.items():
        found = index.search([key], models[model.model_id], 1)
        assert found.labels.tolist() == [label]
        assert found.similarities[0] == pytest.approx(1.0, abs=1e-5)


@pytest.fixture
def old_program(tmp_path: Path) -> Path:
    """The folder of the old program, with the weights of today, which are the same."""
    folder = tmp_path / "program"
    with zipfile.ZipFile(OLD / "program.zip") as packed:
        packed.extractall(folder)
    (folder / "vision" / "trained").mkdir(exist_ok=True)
    for weights in WEIGHTS.glob("*.safetensors"):
        (folder / "vision" / "trained" / weights.name).symlink_to(weights)
    return folder


def run_old_worker(program: Path, servers: Servers, database: str) -> tuple[int, str]:
    """Run an old vision worker until it stops by itself; return its exit code and what it said."""
    variables = environment(
        program / "data",
        mongo_url=servers.mongo_url,
        redis_url=servers.redis_url,
        mongo_database=database,
    )
    ended = subprocess.run(
        [sys.executable, *OLD_WORKER, "-c", "1", "-n", "old@%h"],
        cwd=program,
        env=variables | {"PYTHONPATH": str(program)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.returncode, ended.stdout


def test_an_old_worker_does_not_start_on_a_catalogue_whose_images_have_several_vectors(
    catalog: Catalog, old_program: Path, servers: Servers, target: str
) -> None:
    """The version of the rows stops it first; with that of before, the models in use do."""
    old = catalog.models.current()
    assert old is not None
    parted = ModelRow(f"{old.model_id}-w1", old.dimensions, parts=2)
    catalog.models.adopt(parted, served={old.model_id: parted})
    code, said = run_old_worker(old_program, servers, target)
    assert (code, f"the rows have version {SCHEMA}" in said) == (REFUSED, True), said
    versions = catalog.client[target]["schema"]
    versions.update_one({"_id": "schema"}, {"$set": {"version": OLD_SCHEMA}})
    before = list(catalog.client[target]["models"].find())
    code, said = run_old_worker(old_program, servers, target)
    fault = f"made with model {parted.model_id}, the settings choose {old.model_id}"
    assert (code, fault in said) == (REFUSED, True), said
    assert list(catalog.client[target]["models"].find()) == before
