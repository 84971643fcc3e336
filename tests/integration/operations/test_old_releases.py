"""Rows and snapshots that an earlier state of the program wrote are read by the one of today."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.backup.archive import open_archive
from catalog.backup.restoring import restore
from catalog.backup.taking import read_through
from catalog.database.connection import connect_patiently
from catalog.rows.images import SUCCEEDED
from catalog.schema.version import SCHEMA
from catalog.store import Catalog
from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory
from tests.catalogues import default_catalog
from tests.servers import Servers

OLD = Path(__file__).resolve().parents[2] / "releases" / "be33d9c"
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
