"""The catalogue's features in shards: built from MongoDB, kept up by the index process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from catalog.images import ImageRow
from catalog.store import Catalog
from indexer.index import SetKey, VectorIndex
from indexer.neighbours import Neighbours, no_neighbours
from indexer.options import IndexOptions

#: Features read from MongoDB at a time while the shards are built.
PAGE = 500


class CatalogIndex:
    """A vector index that knows images by their rows; empty until the model is known."""

    def __init__(self, catalog: Callable[[], Catalog], shard_capacity: int) -> None:
        """`catalog` is asked for at the first use, since a process may still fork before."""
        self._catalog = catalog
        self._shard_capacity = shard_capacity
        self._opening = threading.Lock()
        self._opened: tuple[str, VectorIndex] | None = None

    def build(self) -> int:
        """Add every findable image of the catalogue; give how many there are."""
        added = 0
        for labels in self._catalog().vectors.labels(PAGE):
            images = [
                row for row in self._catalog().images.find(labels).values() if row.is_findable
            ]
            added += len(images) - len(self.add(images))
        return added

    def add(self, images: Iterable[ImageRow]) -> set[int]:
        """Add the features of images; give the labels that have none of the current model."""
        rows = {image.label: image for image in images}
        if not rows:
            return set()
        opened = self._open()
        if opened is None:
            return set(rows)
        model_id, index = opened
        stored = self._catalog().vectors.get(list(rows))
        usable = {n: vector.values for n, vector in stored.items() if vector.model_id == model_id}
        for key, labels in _by_set(rows[label] for label in usable).items():
            index.add(key, labels, np.stack([usable[label] for label in labels]))
        return rows.keys() - usable.keys()

    def remove(self, images: Iterable[ImageRow]) -> None:
        """Hide images from every search."""
        opened = self._open()
        if opened is not None:
            for key, labels in _by_set(images).items():
                opened[1].mark_deleted(key, labels)

    def search(
        self, generation: str, category: str | None, vectors: NDArray[np.float32], k: int
    ) -> Neighbours:
        """Give the `k` labels of a collection nearest to any of the vectors (q, dimensions)."""
        opened = self._open()
        if opened is None:
            return no_neighbours()
        index = opened[1]
        keys = [
            key
            for key in index.statistics()
            if key.generation == generation and category in (None, key.category)
        ]
        return index.search(keys, vectors, k)

    def _open(self) -> tuple[str, VectorIndex] | None:
        with self._opening:
            if self._opened is None:
                model = self._catalog().models.current()
                if model is not None:
                    options = IndexOptions(model.dimensions, shard_capacity=self._shard_capacity)
                    self._opened = model.model_id, VectorIndex(options)
            return self._opened


def _by_set(images: Iterable[ImageRow]) -> dict[SetKey, list[int]]:
    grouped: dict[SetKey, list[int]] = {}
    for image in images:
        grouped.setdefault(SetKey(image.generation, image.category), []).append(image.label)
    return grouped
