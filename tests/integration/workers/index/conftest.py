"""An index and index processes, each to be started anew on the same folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.store import Catalog
from tests.integration.workers.index.engines import ENGINES
from tests.integration.workers.index.process import IndexProcess, StartProcess
from tests.integration.workers.index.rows import MODEL
from workers.index_process import catalog_index, parts
from workers.index_process.catalog_index import CatalogIndex, VectorEngine


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "sets"


@pytest.fixture
def engine(request: pytest.FixtureRequest, directory: Path) -> VectorEngine:
    """Return hnswlib's engine, or the one that the test asks for."""
    return ENGINES[getattr(request, "param", "hnsw")](100, directory)


@pytest.fixture
def start(catalog: Catalog, engine: VectorEngine) -> Callable[..., CatalogIndex]:
    """Return a function that makes the index of a new process."""
    catalog.models.adopt(MODEL)

    def started(**options: Any) -> CatalogIndex:
        return CatalogIndex(lambda: catalog, engine, **options)

    return started


@pytest.fixture
def no_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a checkpoint claim all that happened before it, so that a test sees where it ends."""
    monkeypatch.setattr(catalog_index, "MARGIN_SECONDS", 0.0)
    monkeypatch.setattr(catalog_index, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(catalog_index, "CHECKPOINT_SHARE", float("inf"))


@pytest.fixture
def process(tmp_path: Path, index_owner: None) -> Iterator[StartProcess]:
    """Return a function that starts an index process on a data directory."""
    parts.ownership().release()
    started: list[IndexProcess] = []

    def begin(data_dir: str = "data") -> IndexProcess:
        log = tmp_path / f"process-{len(started)}.log"
        started.append(IndexProcess(tmp_path / data_dir, log))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(10)
