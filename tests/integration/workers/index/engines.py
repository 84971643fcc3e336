"""The engines on which an index of the catalogue runs in tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.rows.models import ModelRow
from catalog.store import Catalog
from indexer.memory import MemoryStore
from indexer.vector_store import VectorStore
from workers.index_process.catalog_index import VectorEngine
from workers.index_process.vector_engine import HnswEngine

#: Makes an engine with shards of so many vectors, on a folder.
MakeEngine = Callable[[int, Path], VectorEngine]


def in_memory(catalog: Catalog, model: ModelRow, *, is_complete: bool) -> VectorStore:
    """Return the exact twin of an index, which forgets all at the end of its process."""
    return MemoryStore(model.dimensions, is_complete=is_complete, parts=model.parts)


ENGINES: dict[str, MakeEngine] = {"hnsw": HnswEngine, "memory": lambda *_: in_memory}

#: Runs a test on each engine.
ON_BOTH_ENGINES = pytest.mark.parametrize("engine", ENGINES, indirect=True)
