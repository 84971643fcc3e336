"""The large data of images: payloads that came as Base64, vectors, pictures, local features.

A blob is written once under the label of its image and never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from bson.binary import Binary
from numpy.typing import NDArray

from catalog.database.connection import Row, Rows, delete_by_id, find_by_id, insert_new


class Blobs:
    """Bytes by the label of an image."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def put(self, blobs: Mapping[int, bytes]) -> None:
        """Write bytes under their labels; a label that has bytes keeps them."""
        insert_new(
            self._rows, [{"_id": label, "data": Binary(data)} for label, data in blobs.items()]
        )

    def get(self, labels: Sequence[int]) -> dict[int, bytes]:
        """Return the bytes of these labels, by label; labels without bytes are left out."""
        found = find_by_id(self._rows, labels)
        return {label: bytes(row["data"]) for label, row in found.items()}

    def present(self, labels: Sequence[int]) -> set[int]:
        """Return the labels among `labels` that have bytes."""
        return set(find_by_id(self._rows, labels, ["_id"]))

    def remove(self, labels: Iterable[int]) -> None:
        """Remove the bytes of these labels."""
        delete_by_id(self._rows, labels)


class Vectors:
    """Vectors by label, from which shards are built.

    An image has one row for each model that it needs, two at most; the second is stored under the
    negated label. Only the model in the row tells whose it is, not the sign. A row has one vector
    or several, the parts of its image; they are written together and never change.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def put(self, model_id: str, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        """Write vectors under their labels, (n, dimensions) or one; what is there of a model stays.

        Of a label that has vectors of two other models, nothing is written.
        """
        missing = sorted(vectors.keys() - self.present(list(vectors), [model_id]))
        taken = insert_new(self._rows, [_row(label, model_id, vectors[label]) for label in missing])
        second = [missing[position] for position in sorted(taken)]
        # Another process may have written the same meanwhile.
        second = sorted(set(second) - self.present(second, [model_id]))
        insert_new(self._rows, [_row(-label, model_id, vectors[label]) for label in second])

    def models(self, labels: Sequence[int]) -> dict[int, set[str]]:
        """Return the models of the vectors of these labels; labels without one are left out."""
        found: dict[int, set[str]] = {}
        for key, row in find_by_id(self._rows, _both(labels), ["model_id"]).items():
            found.setdefault(abs(key), set()).add(row["model_id"])
        return found

    def present(self, labels: Sequence[int], models: Collection[str] = ()) -> set[int]:
        """Return the labels among `labels` with a vector of each of `models`, of any if empty."""
        return {label for label, has in self.models(labels).items() if has.issuperset(models)}

    def get(self, labels: Sequence[int], model_id: str) -> dict[int, NDArray[np.float32]]:
        """Return the vectors (n, dimensions) of one model by label; labels without are left out."""
        return {
            label: models[model_id]
            for label, models in self.of_models(labels).items()
            if model_id in models
        }

    def of_models(self, labels: Sequence[int]) -> dict[int, dict[str, NDArray[np.float32]]]:
        """Return all vectors (n, dimensions) of these labels, by label and model.

        Labels without are left out.
        """
        found: dict[int, dict[str, NDArray[np.float32]]] = {}
        for key, row in find_by_id(self._rows, _both(labels)).items():
            found.setdefault(abs(key), {})[row["model_id"]] = _values(row)
        return found

    def remove(self, labels: Iterable[int]) -> None:
        """Remove all vectors of these labels."""
        delete_by_id(self._rows, _both(list(labels)))

    def keep_only(self, labels: Sequence[int], models: Collection[str]) -> None:
        """Remove the vectors of these labels that are of other models, or a second of the same."""
        found = find_by_id(self._rows, _both(labels), ["model_id"])
        needless: dict[str, list[int]] = {}
        for key, row in found.items():
            model_id = row["model_id"]
            is_twice = key < 0 and found.get(-key, {}).get("model_id") == model_id
            if model_id not in models or is_twice:
                needless.setdefault(model_id, []).append(key)
        for model_id, keys in needless.items():
            # With the model, since another vector may be under the key by now. One model at a
            # time: the embedded server deletes nothing by `$in` of both.
            self._rows.delete_many({"_id": {"$in": keys}, "model_id": model_id})


def _both(labels: Sequence[int]) -> list[int]:
    return [key for label in labels for key in (label, -label)]


def _row(key: int, model_id: str, vectors: NDArray[np.float32]) -> Row:
    row = {"_id": key, "model_id": model_id, "values": Binary(vectors.astype("<f4").tobytes())}
    # Without the field as in rows of before, which had one vector.
    return {**row, "parts": len(vectors)} if vectors.ndim == 2 and len(vectors) != 1 else row


def _values(row: Row) -> NDArray[np.float32]:
    data, parts = row["values"], row.get("parts", 1)
    values = np.frombuffer(data, "<f4", count=len(data) // 4)
    # A truncated row yields fewer numbers, which callers see by the dimensions.
    return values.reshape(parts if parts and len(values) % parts == 0 else 1, -1)
