"""Images that were taken in, to be sent through a stage by hand, and searches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from broker.search_exchange import Query
from catalog.flows.submission import NewImage, begin, open_task, write
from catalog.rows.chunks import Chunk
from catalog.rows.collections import CollectionRow
from catalog.rows.products import ProductFields
from catalog.rows.tasks import TaskRow
from catalog.store import Catalog
from config.settings import settings
from indexer.directory_ownership import DirectoryOwnership
from tests.integration.workers.any_feature import AnyFeature, picture
from workers import search as search_stage
from workers.index_process import parts
from workers.support.resources import exchange


@pytest.fixture(autouse=True)
def index_owner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Let this process own the index of the catalogue, where a test has one."""
    if "catalog" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("catalog")
    with pytest.MonkeyPatch.context() as patch:
        # No thread renews this lease, so it lasts longer than a test.
        patch.setattr(
            parts, "settings", lambda: settings().model_copy(update={"lease_seconds": 300.0})
        )
        ownership = parts.ownership()
    with DirectoryOwnership(tmp_path / "owned") as directory:
        assert ownership.take(directory)
        yield


@dataclass(frozen=True)
class Taken:
    """A task with its chunks, as add_image leaves them before anything is sent."""

    collection: CollectionRow
    task: TaskRow
    chunks: list[Chunk]

    @property
    def labels(self) -> list[int]:
        return [label for chunk in self.chunks for label in chunk.labels]


Take = Callable[..., Taken]


@pytest.fixture
def take(catalog: Catalog, redis_client: redis.Redis) -> Take:
    """Take images of one product in: those with a URL, or bytes where `payload` is given."""

    def taken(
        *names: str,
        url: str = "http://127.0.0.1:9/x.jpg",
        payload: bytes | None = None,
        product: str = "shoe",
    ) -> Taken:
        collection = catalog.collections.find_or_create("user", "shop", 0)
        catalog.products.insert(
            collection, [ProductFields(product_id="shoe", product_name="Shoe", category="鞋靴")]
        )
        draft = begin(
            catalog,
            collection,
            {
                position: NewImage(
                    product_id=product,
                    image_id=name,
                    image_info="",
                    url=None if payload else url,
                    payload=payload,
                )
                for position, name in enumerate(names)
            },
            catalog.products.find(collection.generation, [product]),
        )
        written = write(catalog, draft, images_per_product=0, chunk_images=16)
        assert written.refused == {}
        task = open_task(catalog, draft, written)
        catalog.chunks.mark_sent(written.chunks)
        chunks = {chunk.id: chunk for chunk in catalog.chunks.find(task.chunk_ids)}
        return Taken(collection, task, [chunks[chunk_id] for chunk_id in task.chunk_ids])

    return taken


@pytest.fixture
def ask(
    catalog: Catalog, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Ask the search worker, with an index that knows `near` as (label, similarity)."""
    monkeypatch.setattr(search_stage, "pipeline", AnyFeature)

    def asked(near: list[tuple[int, float]] | Exception, **fields: Any) -> dict[str, Any]:
        def ask_neighbours(*_: Any, k: int, **__: Any) -> list[tuple[int, float]]:
            if isinstance(near, Exception):
                raise near
            return near[:k]

        monkeypatch.setattr(search_stage, "ask_neighbours", ask_neighbours)
        query = Query(
            **{
                "picture": picture(),
                "url": None,
                "generation": "1",
                "category": None,
                "topk": 5,
                "box": None,
                "min_similarity": -1.0,
                "group_by_product": False,
                "request_id": "test",
            }
            | fields
        )
        exchange().leave("query", query.pack(), 5)
        search_stage.search("query")
        answer = exchange().wait("query", 1)
        assert answer is not None
        return answer

    return asked
