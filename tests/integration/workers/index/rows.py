"""Images with features in the rows, and what an index of them finds."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import pytest

from catalog.database.connection import databases
from catalog.rows.images import ImageRow, Images
from catalog.rows.models import ModelRow
from catalog.store import Catalog
from config.settings import settings
from indexer.key import SetKey
from indexer.vector_store import VectorStore
from workers.index_process.catalog_index import CatalogIndex

DIMENSIONS = 8
MODEL = ModelRow("test-model", DIMENSIONS)
#: Another, of which an image has several vectors.
PARTED = ModelRow("test-model-w3", DIMENSIONS, parts=4)
SHOES = SetKey("a1", "鞋靴")
CLOTHES = SetKey("a1", "服装")
OTHER = SetKey("b2", "鞋靴")

Features = np.ndarray[Any, np.dtype[np.float32]]


def feature(label: int) -> Features:
    """Return the unit vector that belongs to a label."""
    values = np.random.default_rng(label).standard_normal(DIMENSIONS).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values), np.float32)


@cache
def features(label: int, model: ModelRow = MODEL) -> Features:
    """Return the unit vectors (n, DIMENSIONS) that belong to a label and a model."""
    if model.parts == 1:
        return feature(label)[np.newaxis]
    return np.stack([feature(label + (part + 1) * 10**10) for part in range(1 + label % 4)])


def rows(labels: Iterable[int], key: SetKey = SHOES) -> list[ImageRow]:
    return [
        ImageRow(
            label=label,
            collection="user/shop",
            generation=key.generation,
            product_id="p",
            product_serial=1,
            product_name="P",
            category=key.category,
            image_id=str(label),
            image_info="",
            url=None,
        )
        for label in labels
    ]


def put_collection(
    catalog: Catalog, generation: str, image_count: int = 0, model: ModelRow = MODEL
) -> None:
    """Write the row of a collection of that generation, or count more images in it."""
    kept = databases(catalog.client, settings().mongo_database)[0]["collections"]
    fields = {
        "user": "user",
        "name": generation,
        "generation": generation,
        "created_at": 0,
        "product_count": 0,
        "changes": 0,
        "change": None,
        "model_id": model.model_id,
    }
    kept.update_one({"_id": f"user/{generation}"}, {"$set": fields}, upsert=True)
    kept.update_one({"_id": f"user/{generation}"}, {"$inc": {"image_count": image_count}})


def put(
    catalog: Catalog, labels: Iterable[int], key: SetKey = SHOES, model: ModelRow = MODEL
) -> list[ImageRow]:
    """Write findable images with their features, and their collection."""
    images = rows(labels, key)
    put_collection(catalog, key.generation, len(images), model)
    numbers = [image.label for image in images]
    catalog.images.insert(images)
    catalog.images.succeed(numbers)
    catalog.vectors.put(model.model_id, {label: features(label, model) for label in numbers})
    return list(catalog.images.find(numbers).values())


def found(shards: CatalogIndex, label: int, key: SetKey = SHOES, k: int = 1000) -> list[int]:
    """Return the labels that a search with the feature of `label` finds, the nearest first."""
    near = shards.search(key.generation, key.category, feature(label)[np.newaxis], k)
    return [int(n) for n in near.labels]


def opened(shards: CatalogIndex) -> VectorStore:
    """Return the index, after everything was loaded or built."""
    (index,) = shards.restore()
    return index


def save(shards: CatalogIndex) -> None:
    index = opened(shards)
    for key in index.unsaved():
        assert index.save(key)


def keep(shards: CatalogIndex) -> int | None:
    """Save all sets and the checkpoint, as the keeper does; return the checkpoint."""
    index = opened(shards)
    for key in index.unsaved():
        assert index.save(key)
    shards.keep_checkpoints()
    time.sleep(0.01)  # what comes next is of another millisecond
    return index.checkpoint


def forbid_comparison(patch: pytest.MonkeyPatch) -> None:
    """Fail where the rows of a whole collection are read."""

    def forbidden(*_: object) -> None:
        raise AssertionError("the rows of a whole collection were read")

    patch.setattr(Images, "places_of", forbidden)


def spoil(catalog: Catalog, label: int, values: bytes) -> None:
    """Overwrite a stored vector with bytes that are none."""
    blobs = databases(catalog.client, settings().mongo_database)[1]
    blobs["vectors"].update_one({"_id": label}, {"$set": {"values": values}})
