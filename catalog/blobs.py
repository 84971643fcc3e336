"""What is large: Base64 payloads that wait, vectors, and the pictures that are kept.

Blobs are written once under the label of their image and never changed.
"""

from __future__ import annotations

import itertools
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
        """Give the labels of all features, `page` at a time, in no order."""
        # One cursor: the embedded server reads everything anew for each page of a range.
        with self._rows.find({}, ["_id"]).batch_size(page) as rows:
            while labels := [row["_id"] for row in itertools.islice(rows, page)]:
                yield labels

    def remove(self, labels: Iterable[int]) -> None:
        """Forget the features of these labels."""
        self._rows.delete_many({"_id": {"$in": list(labels)}})
