"""The vector engine of the index process: the only module of the workers that knows hnswlib's."""

from __future__ import annotations

from pathlib import Path

from catalog.rows.models import ModelRow
from catalog.store import Catalog
from config.settings import settings
from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory
from indexer.vector_store import VectorStore
from workers.index_process.catalog_index import VectorEngine

#: Numbers of the vectors that are added under one hold of a write lock: a search may wait some 3
#: ms.
NUMBERS_PER_WRITE = 1024


def chosen_vector_engine(directory: Path) -> VectorEngine:
    """Return the engine that the settings choose, with its files in `directory`."""
    return HnswEngine(settings().shard_capacity, directory)


class HnswEngine:
    """Opens indexes on hnswlib, with the snapshots of each model in a directory of its own."""

    def __init__(self, shard_capacity: int, directory: Path | None = None) -> None:
        """Take the directory of the first model; without one, no snapshots are kept."""
        self._shard_capacity = shard_capacity
        self._directory = directory

    def __call__(self, catalog: Catalog, model: ModelRow, *, is_complete: bool) -> VectorStore:
        """Return the index of a model; reads the manifests of its snapshots."""
        options = IndexOptions(
            model.dimensions,
            shard_capacity=self._shard_capacity,
            parts=model.parts,
            vectors_per_write=_vectors_per_write(model.dimensions),
        )
        snapshots = self._snapshots(catalog, model, options)
        return VectorIndex(options, snapshots, is_complete=is_complete)

    def _snapshots(
        self, catalog: Catalog, model: ModelRow, options: IndexOptions
    ) -> SnapshotDirectory | None:
        directory = self._directory
        if directory is None:
            return None
        if catalog.models.first() != model:
            directory = directory.with_name(f"{directory.name}-{model.model_id}")
        return SnapshotDirectory(directory, f"{catalog.identity.get()}/{model.model_id}", options)


def _vectors_per_write(dimensions: int) -> int:
    return max(1, min(IndexOptions.vectors_per_write, NUMBERS_PER_WRITE // dimensions))
