"""A large catalogue as rows, made by the service's own code on tables in memory.

The same seed makes the same rows, byte by byte. Times are of the past, and nothing of it is ever
due: a finished task is kept for ten years.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from unittest.mock import patch

import numpy as np

from catalog.database.database_time import DATABASE_TIME
from catalog.flows.removal import fail_images
from catalog.flows.submission import NewImage, begin, open_task, write
from catalog.rows.chunks import Chunk, Stage
from catalog.rows.claims import content_key
from catalog.rows.collections import CollectionRow
from catalog.rows.images import SUCCEEDED
from catalog.rows.models import ModelRow
from catalog.rows.products import ProductFields
from catalog.rows.tasks import TaskRow
from catalog.store import open_catalog
from contract.errors import ImageTooSmall
from identity.keys import DEFAULT_USER
from tests.catalogues import default_durations
from tests.volume.table import MemoryClient

USERS = 20
COLLECTIONS = 200
TASK_IMAGES = 10
PRODUCT_IMAGES = 10
#: Consecutive images are of so many products.
PRODUCTS_AT_ONCE = 10
#: Three of five products are of the first category, so that its set is a graph.
CATEGORIES = ("服装", "服装", "服装", "鞋靴", "其他")
#: One image of so many failed.
FAILED_EVERY = 1000
#: One task of so many is open for ever.
OPEN_EVERY = 333

KEPT = timedelta(days=3650)
#: 2026-01-01, in microseconds: nothing that is made now gets the label or the id of anything here.
BEGUN = 1_767_225_600_000_000

Rows = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Shape:
    """How large a catalogue is; `with_vectors` counts collections, all of whose images have one."""

    images: int
    seed: int = 1
    collections: int = COLLECTIONS
    users: int = USERS
    with_vectors: int = 10

    @property
    def collection_images(self) -> int:
        return self.images // self.collections

    @property
    def collection_tasks(self) -> int:
        return -(-self.collection_images // TASK_IMAGES)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.images}-images-{self.collections}-collections-seed-{self.seed}"


def user_name(number: int) -> str:
    """Return the name of a user; programs without a key call as the first."""
    return DEFAULT_USER if number == 0 else f"user-{number:02d}"


def collection_name(number: int) -> str:
    return f"shop-{number:03d}"


def user_of_collection(shape: Shape, number: int) -> str:
    """Return whose a collection is; those with vectors are all of the first user."""
    return user_name(number * shape.users // shape.collections)


class _Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.microseconds = BEGUN

    def now(self) -> int:
        return self.microseconds


@contextmanager
def _same_every_time(seed: int) -> Iterator[_Clock]:
    """Take time and chance from the seed for as long as the context lasts."""
    clock, chance = _Clock(), random.Random(seed)
    with (
        patch.object(DATABASE_TIME, "microseconds", clock.now),
        patch("secrets.token_hex", lambda size: f"{chance.getrandbits(size * 8):0{size * 2}x}"),
    ):
        yield clock


class Generator:
    """Makes a catalogue collection by collection, since all of it would not fit into memory."""

    def __init__(self, shape: Shape, model: ModelRow) -> None:
        self._shape = shape
        self._model = model
        self._client = MemoryClient()
        self._catalog = open_catalog(
            cast(Any, self._client), "volume", default_durations(task=KEPT)
        )
        self.open_tasks = 0
        self.failed_images = 0

    def pieces(self) -> Iterator[tuple[Rows, Rows]]:
        """Yield rows and blobs by table, each row once, one collection after the other."""
        for number in range(self._shape.collections):
            with _same_every_time(self._shape.seed * 1000 + number) as clock:
                if number == 0:
                    self._catalog.models.adopt(self._model)
                self._fill(number, clock)
            is_last = number == self._shape.collections - 1
            yield self._taken("volume", is_last), self._taken("volume_blobs", is_last)

    def _taken(self, database: str, is_last: bool) -> Rows:
        # A user's row is changed by each collection, and so is the row of the last number.
        staying = () if is_last else ("users", "numbers", "models", "schema", "purges")
        tables = self._client[database].tables
        return {name: table.take() for name, table in tables.items() if name not in staying}

    def _fill(self, number: int, clock: _Clock) -> None:
        catalog, shape = self._catalog, self._shape
        collection = catalog.collections.find_or_create(
            user_of_collection(shape, number), collection_name(number), 0
        )
        product_count = -(-shape.collection_images // PRODUCT_IMAGES)
        product_count = max(product_count, min(PRODUCTS_AT_ONCE, shape.collection_images))
        new = [
            ProductFields(
                product_id=f"p-{n}",
                product_name=f"商品 {n}",
                category=CATEGORIES[n % len(CATEGORIES)],
            )
            for n in range(product_count)
        ]
        faults = catalog.products.insert(collection, new)
        catalog.collections.add_products(collection.key, collection.generation, len(new))
        assert faults == {}
        for task in range(shape.collection_tasks):
            clock.microseconds = BEGUN + 1_000_000 * (task * shape.collections + number)
            first = task * TASK_IMAGES
            last = min(first + TASK_IMAGES, shape.collection_images)
            self._add(collection, range(first, last), number, task)
        self._count(collection, len(new))

    def _count(self, collection: CollectionRow, products: int) -> None:
        """Note the recount that follows any change."""
        counters = self._catalog.counters
        found = counters.find(collection.key, collection.generation)
        assert found is not None
        assert found.products == products
        assert counters.settle(found, products, found.images)

    def _add(
        self, collection: CollectionRow, images: Sequence[int], number: int, task: int
    ) -> None:
        """Take images in as add_image does, and end them as the stages do."""
        catalog = self._catalog
        new = [_new_image(self._shape, number, image) for image in images]
        products = catalog.products.find(
            collection.generation, list(dict.fromkeys(image.product_id for image in new))
        )
        draft = begin(catalog, collection, dict(enumerate(new)), products)
        written = write(catalog, draft, images_per_product=PRODUCT_IMAGES, chunk_images=TASK_IMAGES)
        assert written.refused == {}
        opened = open_task(catalog, draft, written)
        catalog.chunks.mark_sent(written.chunks)
        (chunk,) = written.chunks
        if (number * self._shape.collection_tasks + task) % OPEN_EVERY == OPEN_EVERY - 1:
            self._leave_open(chunk)
        else:
            self._end(opened, chunk, images, number)

    def _leave_open(self, chunk: Chunk) -> None:
        """Let a chunk wait for longer than any measurement takes."""
        claimed = self._catalog.chunks.claim(chunk.id, Stage.FETCH, chunk.attempt)
        assert claimed is not None
        assert self._catalog.chunks.hand_back(claimed, KEPT, unclean=False) is not None
        self.open_tasks += 1

    def _end(self, task: TaskRow, chunk: Chunk, images: Sequence[int], number: int) -> None:
        catalog = self._catalog
        serials = {item.label: item.product_serial for item in chunk.items}
        claims = {content_key(serials[n], _sha256(self._shape, n)): n for n in chunk.labels}
        for following in (Stage.VISION, Stage.INDEX):
            claimed = catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
            assert claimed is not None
            moved = catalog.chunks.advance(claimed, following, chunk.items)
            assert moved is not None
            chunk = moved
        assert catalog.contents.take(claims) == set()
        failed = [
            label
            for label, image in zip(chunk.labels, images, strict=True)
            if (number * self._shape.collection_images + image) % FAILED_EVERY == FAILED_EVERY - 1
        ]
        good = [label for label in chunk.labels if label not in failed]
        if number < self._shape.with_vectors:
            self._embed(good)
        running = catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
        assert running is not None
        fail_images(catalog, dict.fromkeys(failed, ImageTooSmall()), "vision")
        catalog.images.succeed(good)
        outcomes = [ImageTooSmall.message if n in failed else SUCCEEDED for n in chunk.labels]
        assert catalog.chunks.finish(running, outcomes)
        catalog.tasks.finish(task.task_id, len(good), len(failed))
        catalog.chunks.settle(chunk.id)
        self.failed_images += len(failed)

    def _embed(self, labels: Sequence[int]) -> None:
        self._catalog.vectors.put(
            self._model.model_id,
            {label: vector_of(self._shape.seed, label, self._model.dimensions) for label in labels},
        )


def vector_of(seed: int, label: int, dimensions: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a feature: images come in groups that are alike, as those of products are."""
    group = np.random.default_rng([seed, label % 97]).standard_normal(dimensions)
    values = group + 0.7 * np.random.default_rng([seed, label, 0]).standard_normal(dimensions)
    return np.asarray(values / np.linalg.norm(values), np.float32)


def _new_image(shape: Shape, collection: int, image: int) -> NewImage:
    block = image // (PRODUCTS_AT_ONCE * PRODUCT_IMAGES)
    product = block * PRODUCTS_AT_ONCE + image % PRODUCTS_AT_ONCE
    name = f"i-{image}"
    url = f"http://images.example/{shape.seed}/{collection_name(collection)}/{name}.jpg"
    return NewImage(
        product_id=f"p-{product}",
        image_id=name,
        image_info=f"image {image} of {collection}",
        url=url,
        payload=None,
    )


def _sha256(shape: Shape, label: int) -> str:
    return hashlib.sha256(f"{shape.seed} {label}".encode()).hexdigest()
