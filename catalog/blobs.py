"""What is large: Base64 payloads that wait, vectors, and the pictures that are kept.

Blobs are written once under the label of their image and never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from bson.binary import Binary
from numpy.typing import NDArray

from catalog.connection import Rows, find_by_id, insert_new


class Blobs:
    """Bytes by label."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def put(self, blobs: Mapping[int, bytes]) -> None:
        """Keep bytes under their labels; what is there already stays."""
        insert_new(
            self._rows, [{"_id": label, "data": Binary(data)} for label, data in blobs.items()]
        )

    def get(self, labels: Sequence[int]) -> dict[int, bytes]:
        """Give the bytes that are there among `labels`."""
        found = find_by_id(self._rows, labels)
        return {label: bytes(row["data"]) for label, row in found.items()}

    def remove(self, labels: Iterable[int]) -> None:
        """Forget the bytes of these labels."""
        self._rows.delete_many({"_id": {"$in": list(labels)}})


@dataclass(frozen=True)
class StoredVector:
    """A feature as it is stored: float32 of shape (dimensions,), and the model that made it."""

    model_id: str
    values: NDArray[np.float32]


class Vectors:
    """Features by label: the truth from which shards are built."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def put(self, model_id: str, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        """Keep features under their labels; what is there already stays."""
        insert_new(
            self._rows,
            [
                {
                    "_id": label,
                    "model_id": model_id,
                    "values": Binary(values.astype("<f4").tobytes()),
                }
                for label, values in vectors.items()
            ],
        )

    def present(self, labels: Sequence[int]) -> set[int]:
        """Give those among `labels` that have a feature."""
        return set(find_by_id(self._rows, labels, ["_id"]))

    def get(self, labels: Sequence[int]) -> dict[int, StoredVector]:
        """Give the features that are there among `labels`."""
        found = find_by_id(self._rows, labels)
        return {
            label: StoredVector(row["model_id"], np.frombuffer(row["values"], "<f4"))
            for label, row in found.items()
        }

    def labels(self, page: int) -> Iterator[list[int]]:
        """Give the labels of all features, rising, `page` at a time."""
        last = -1
        while True:
            rows = self._rows.find({"_id": {"$gt": last}}, ["_id"]).sort("_id", 1).limit(page)
            labels = [row["_id"] for row in rows]
            if not labels:
                return
            yield labels
            last = labels[-1]

    def remove(self, labels: Iterable[int]) -> None:
        """Forget the features of these labels."""
        self._rows.delete_many({"_id": {"$in": list(labels)}})
