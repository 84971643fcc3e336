"""What comes, goes and moves while an index is built is found, or not, as the rows say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import structlog
from pymongo.errors import ConnectionFailure

from catalog.rows.blobs import Vectors
from catalog.rows.chunks import Stage
from catalog.rows.images import SUCCEEDED, ImageRow, Images
from catalog.rows.models import Models
from catalog.store import Catalog
from config.settings import settings
from indexer.key import SetKey
from indexer.vector_store import SetNotReadyError
from tests.integration.workers.index.engines import ON_BOTH_ENGINES
from tests.integration.workers.index.rows import (
    CLOTHES,
    MODEL,
    OTHER,
    SHOES,
    feature,
    found,
    opened,
    put,
    save,
)
from workers import index as index_stage
from workers.index_process import catalog_index as module
from workers.index_process import set_repair
from workers.index_process.catalog_index import CatalogIndex, VectorEngine

pytestmark = ON_BOTH_ENGINES


def test_an_image_that_was_added_but_not_yet_ended_is_found_after_its_next_attempt(
    catalog: Catalog,
    start: Callable[..., CatalogIndex],
    take: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chunk = take("a", "b").chunks[0]
    catalog.vectors.put(MODEL.model_id, {label: feature(label) for label in chunk.labels})
    resent = catalog.chunks.resend(chunk, Stage.INDEX)
    assert resent is not None
    chunk = resent
    before = start()
    opened(before)
    before.add(catalog.images.find(chunk.labels).values())
    save(before)

    after = start()
    opened(after)
    monkeypatch.setattr(index_stage, "shards", lambda: after)
    index_stage.index(chunk.id, chunk.attempt)
    key = SetKey(chunk.generation, "鞋靴")
    assert set(found(after, chunk.labels[0], key)) == set(chunk.labels)
    assert all(row.outcome == SUCCEEDED for row in catalog.images.find(chunk.labels).values())


def test_other_sets_answer_while_one_is_built_and_nothing_of_that_time_is_lost(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 201))
    put(catalog, range(201, 211), OTHER)
    monkeypatch.setattr(set_repair, "PAGE", 50)
    shards = start()
    half, go_on = threading.Event(), threading.Event()
    get = Vectors.get

    def paused(vectors: Vectors, labels: Any, model_id: str) -> Any:
        if 51 in labels and not half.is_set():
            half.set()
            assert go_on.wait(30)
        return get(vectors, labels, model_id)

    monkeypatch.setattr(Vectors, "get", paused)
    with ThreadPoolExecutor(1) as pool:
        restoring = pool.submit(shards.restore)
        assert half.wait(30)
        with pytest.raises(SetNotReadyError):
            found(shards, 1)
        with pytest.raises(SetNotReadyError):
            shards.search(SHOES.generation, None, feature(1)[np.newaxis], 5)
        assert set(found(shards, 201, OTHER)) == set(range(201, 211))
        shards.add(put(catalog, [211], OTHER))
        assert found(shards, 211, OTHER)[0] == 211
        assert found(shards, 1, SetKey("c3", "x")) == []

        shards.add(put(catalog, [700]))
        catalog.images.delete([10, 60, 190])
        shards.remove(catalog.images.find([10, 60, 190]).values())
        assert not shards.state()[SHOES].ready
        go_on.set()
        restoring.result(60)
    expected = (set(range(1, 201)) | {700}) - {10, 60, 190}
    assert set(found(shards, 1)) == expected
    assert shards.state()[SHOES].ready


def test_an_image_deleted_between_its_reading_and_its_adding_is_never_found(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 21))
    shards = start()
    get = Vectors.get

    def delete_meanwhile(vectors: Vectors, labels: Any, model_id: str) -> Any:
        stored = get(vectors, labels, model_id)
        catalog.images.delete([5])
        shards.remove(catalog.images.find([5]).values())
        return stored

    monkeypatch.setattr(Vectors, "get", delete_meanwhile)
    opened(shards)
    assert set(found(shards, 5)) == set(range(1, 21)) - {5}


def test_before_the_rows_were_read_no_search_is_answered_with_nothing(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 21))
    shards = start()
    with pytest.raises(SetNotReadyError):
        found(shards, 1)
    with pytest.raises(SetNotReadyError):
        shards.search(SHOES.generation, None, feature(1)[np.newaxis], 5)


def test_a_catalogue_without_a_model_is_answered_with_nothing_and_then_with_what_comes(
    catalog: Catalog, engine: VectorEngine
) -> None:
    shards = CatalogIndex(lambda: catalog, engine)
    assert shards.restore() == []
    assert found(shards, 1) == []
    assert shards.state() == {}
    assert shards.drop("a1") == 0
    catalog.models.adopt(MODEL)
    shards.add(put(catalog, [1, 2]))
    assert set(found(shards, 1)) == {1, 2}, "at once, with nothing restored in between"


def test_a_database_that_is_away_is_waited_for(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 21))
    monkeypatch.setattr(module, "UNREACHABLE_PAUSE", 0.01)
    shards = start()

    def away(*_: object) -> None:
        raise ConnectionFailure("nobody there")

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as lines:
        patch.setattr(Models, "known", away)
        assert shards.restore() == []
    with monkeypatch.context() as patch:
        patch.setattr(Images, "find", away)
        assert len(shards.restore()) == 1
    with pytest.raises(SetNotReadyError):
        found(shards, 1)
    opened(shards)
    assert set(found(shards, 1)) == set(range(1, 21))
    assert [line["log_level"] for line in lines] == ["warning"]


def recategorise(catalog: Catalog, labels: list[int], category: str) -> list[ImageRow]:
    catalog.client[settings().mongo_database]["images"].update_many(
        {"_id": {"$in": labels}}, {"$set": {"category": category}}
    )
    return list(catalog.images.find(labels).values())


def test_images_move_to_another_category_and_back(
    catalog: Catalog, start: Callable[..., CatalogIndex]
) -> None:
    put(catalog, range(1, 21))
    shards = start()
    save(shards)
    for _ in range(2):
        shards.refresh(recategorise(catalog, [1, 2], CLOTHES.category))
        assert set(found(shards, 1, CLOTHES)) == {1, 2}
        assert set(found(shards, 1)) == set(range(3, 21))
        shards.refresh(recategorise(catalog, [1, 2], SHOES.category))
        assert found(shards, 1, CLOTHES) == []
        assert set(found(shards, 1)) == set(range(1, 21))
    refreshed = shards.refresh(recategorise(catalog, [1, 2], SHOES.category))
    assert refreshed == {1: {MODEL.model_id}, 2: {MODEL.model_id}}
    assert set(found(shards, 1)) == set(range(1, 21)), "no move at all"


def test_a_move_while_the_process_was_down_is_made_good(
    catalog: Catalog, start: Callable[..., CatalogIndex]
) -> None:
    put(catalog, range(1, 21))
    put(catalog, [50], CLOTHES)
    shards = start()
    opened(shards)
    shards.refresh(recategorise(catalog, [1, 2], CLOTHES.category))
    save(shards)
    recategorise(catalog, [1], SHOES.category)
    recategorise(catalog, [3], CLOTHES.category)
    after = start()
    opened(after)
    assert set(found(after, 1)) == set(range(1, 21)) - {2, 3}
    assert set(found(after, 1, CLOTHES)) == {2, 3, 50}
