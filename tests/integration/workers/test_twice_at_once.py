"""The same message at the same time, and an old attempt beside a new one: the work counts once."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import redis
from numpy.typing import NDArray
from PIL import Image

from broker.celery_app import app
from catalog.rows.chunks import Chunk, Stage, State
from catalog.rows.models import ModelRow
from catalog.store import Catalog
from vision.box import Box
from workers import fetch as fetch_stage
from workers import index as index_stage
from workers import vision as vision_stage
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.vector_engine import HnswEngine
from workers.support.resources import staged_bytes

COLOURS = ("red", "green", "blue")
MODEL = ModelRow("slow-colour", 3)


class SlowColour:
    """A model that takes its time, so that two meet in the middle of their work."""

    model_id = MODEL.model_id
    dimensions = MODEL.dimensions

    def __init__(self) -> None:
        self.looks = 0

    def describe(self, image: Image.Image) -> tuple[Box, NDArray[np.float32]]:
        self.looks += 1
        time.sleep(0.02)
        mean = np.asarray(image, np.float32).mean(axis=(0, 1))
        return Box(0, 0, *image.size), np.asarray(mean / np.linalg.norm(mean), np.float32)


@pytest.fixture(autouse=True)
def bound_tasks(process_settings: None) -> None:
    """Tasks that are bound, as in a worker; two threads at once must not be the first to do it."""
    app.finalize()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> SlowColour:
    found = SlowColour()
    monkeypatch.setattr(vision_stage, "pipeline", lambda _=None: found)
    return found


@pytest.fixture
def shards(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> CatalogIndex:
    fresh = CatalogIndex(lambda: catalog, HnswEngine(1000))
    monkeypatch.setattr(index_stage, "shards", lambda: fresh)
    catalog.models.adopt(MODEL)
    fresh.restore()
    return fresh


def png(colour: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (220, 220), colour).save(data, "PNG")
    return data.getvalue()


def at_once(*work: Callable[[], object]) -> None:
    barrier = threading.Barrier(len(work))

    def run(one: Callable[[], object]) -> None:
        barrier.wait(10)
        one()

    with ThreadPoolExecutor(len(work)) as threads:
        for future in [threads.submit(run, one) for one in work]:
            future.result(30)


def the_chunk(catalog: Catalog, chunk: Chunk) -> Chunk:
    (found,) = catalog.chunks.find([chunk.id])
    return found


def messages(client: redis.Redis, queue: str) -> int:
    return len([json.loads(raw) for raw in client.lrange(queue, 0, -1)])


def moved(catalog: Catalog, chunk: Chunk, stage: Stage) -> Chunk:
    sent = catalog.chunks.resend(chunk, stage)
    assert sent is not None
    return sent


def both_attempts(catalog: Catalog, chunk: Chunk) -> tuple[Chunk, Chunk]:
    """An attempt whose worker was taken for dead and lives on, and the one that follows it."""
    old = catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
    assert old is not None
    time.sleep(1.05)  # the lease of these tests is 1 s
    expired = catalog.chunks.expire(old)
    assert expired is not None
    resent = catalog.chunks.resend(expired)
    assert resent is not None
    new = catalog.chunks.claim(resent.id, resent.stage, resent.attempt)
    assert new is not None
    return old, new


def three_pictures(catalog: Catalog, take: Any) -> Chunk:
    """A chunk at the vision stage, whose bytes were fetched."""
    chunk = moved(catalog, take(*COLOURS).chunks[0], Stage.VISION)
    staged_bytes().put(dict(zip(chunk.labels, map(png, COLOURS), strict=True)))
    return chunk


def three_features(catalog: Catalog, take: Any) -> Chunk:
    """A chunk at the index stage."""
    chunk = take(*COLOURS).chunks[0]
    axes = np.eye(3, dtype=np.float32)
    catalog.vectors.put(MODEL.model_id, dict(zip(chunk.labels, axes, strict=True)))
    return moved(catalog, chunk, Stage.INDEX)


def assert_each_is_found_once(catalog: Catalog, shards: CatalogIndex, chunk: Chunk) -> None:
    done = the_chunk(catalog, chunk)
    assert (done.state, done.outcomes) == (State.DONE, ("SUCCEEDED",) * 3)
    near = shards.search(chunk.generation, None, np.eye(3, dtype=np.float32)[:1], 10)
    assert sorted(int(label) for label in near.labels) == chunk.labels
    assert sum(state.live + state.deleted for state in shards.state().values()) == 3


def test_fetch_twice_at_once_asks_each_host_once(
    catalog: Catalog, redis_client: redis.Redis, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = take("a", "b").chunks
    asked: list[int] = []

    def fetch_all(urls: dict[int, str], *_: Any, **__: Any) -> dict[int, bytes]:
        time.sleep(0.2)
        asked.extend(urls)
        return dict.fromkeys(urls, b"bytes")

    monkeypatch.setattr(fetch_stage, "fetch_all", fetch_all)
    at_once(*[lambda: fetch_stage.fetch(chunk.id, chunk.attempt)] * 3)
    assert sorted(asked) == chunk.labels
    assert the_chunk(catalog, chunk).stage is Stage.VISION
    assert messages(redis_client, "vision") == 1


def test_vision_twice_at_once_embeds_each_picture_once(
    catalog: Catalog, redis_client: redis.Redis, take: Any, model: SlowColour
) -> None:
    chunk = three_pictures(catalog, take)
    at_once(*[lambda: vision_stage.vision(chunk.id, chunk.attempt)] * 3)
    assert model.looks == 3
    assert catalog.vectors.present(chunk.labels) == set(chunk.labels)
    assert messages(redis_client, "index") == 1


def test_index_twice_at_once_adds_each_image_once(
    catalog: Catalog, take: Any, shards: CatalogIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = three_features(catalog, take)
    additions: list[int] = []
    add = shards.add

    def counted(images: Any) -> dict[int, set[str]]:
        additions.extend(image.label for image in images)
        time.sleep(0.1)
        return add(images)

    monkeypatch.setattr(shards, "add", counted)
    at_once(*[lambda: index_stage.index(chunk.id, chunk.attempt)] * 3)
    assert sorted(additions) == chunk.labels
    assert_each_is_found_once(catalog, shards, chunk)


def test_an_old_vision_attempt_beside_a_new_one_leaves_one_feature_of_each(
    catalog: Catalog, redis_client: redis.Redis, take: Any, model: SlowColour
) -> None:
    chunk = three_pictures(catalog, take)
    old, new = both_attempts(catalog, chunk)
    at_once(lambda: vision_stage._work(old), lambda: vision_stage._work(new))
    assert catalog.vectors.present(chunk.labels) == set(chunk.labels)
    images = catalog.images.find(chunk.labels).values()
    assert [image.outcome for image in images] == [None] * 3, "none is its own duplicate"
    found = the_chunk(catalog, chunk)
    assert (found.stage, found.attempt) in {(Stage.INDEX, new.attempt), (Stage.FETCH, new.attempt)}
    assert messages(redis_client, "index") + messages(redis_client, "fetch") == 1


def test_an_old_index_attempt_beside_a_new_one_adds_each_image_and_ends_the_chunk_once(
    catalog: Catalog, take: Any, shards: CatalogIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = three_features(catalog, take)
    ended: list[str] = []
    monkeypatch.setattr(
        "workers.support.chunk_end.store_outcomes", lambda key, _: ended.append(key)
    )
    old, new = both_attempts(catalog, chunk)
    at_once(lambda: index_stage._work(old), lambda: index_stage._work(new))
    assert_each_is_found_once(catalog, shards, chunk)
    assert ended == [chunk.id]
