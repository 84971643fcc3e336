"""What is large: Base64 payloads that wait, vectors, and the pictures that are kept.

Blobs are written once under the label of their image and never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from bson.binary import Binary
from numpy.typing import NDArray

from catalog.database.connection import Row, Rows, delete_by_id, find_by_id, insert_new


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
        """Return the bytes that are there among `labels`."""
        found = find_by_id(self._rows, labels)
        return {label: bytes(row["data"]) for label, row in found.items()}

    def present(self, labels: Sequence[int]) -> set[int]:
        """Return those among `labels` that have bytes."""
        return set(find_by_id(self._rows, labels, ["_id"]))

    def remove(self, labels: Iterable[int]) -> None:
        """Forget the bytes of these labels."""
        delete_by_id(self._rows, labels)


class Vectors:
    """Features by label: the truth from which shards are built.

    An image has one of each model that it needs, two at most: the second stands under the
    label with a minus. Which of the two stands where says nothing, only the model in the row does.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def put(self, model_id: str, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        """Keep features under their labels; what is there already of that model stays.

        A third model finds no place, and nothing is written of it.
        """
        missing = sorted(vectors.keys() - self.present(list(vectors), [model_id]))
        taken = insert_new(self._rows, [_row(label, model_id, vectors[label]) for label in missing])
        second = [missing[position] for position in sorted(taken)]
        # Somebody may have written the same meanwhile.
        second = sorted(set(second) - self.present(second, [model_id]))
        insert_new(self._rows, [_row(-label, model_id, vectors[label]) for label in second])

    def models(self, labels: Sequence[int]) -> dict[int, set[str]]:
        """Return those among `labels` that have a feature, each with the models of its features."""
        found: dict[int, set[str]] = {}
        for key, row in find_by_id(self._rows, _both(labels), ["model_id"]).items():
            found.setdefault(abs(key), set()).add(row["model_id"])
        return found

    def present(self, labels: Sequence[int], models: Collection[str] = ()) -> set[int]:
        """Return those among `labels` that have a feature of each of the models, of any if none."""
        return {label for label, has in self.models(labels).items() if has.issuperset(models)}

    def get(self, labels: Sequence[int], model_id: str) -> dict[int, NDArray[np.float32]]:
        """Return the features of one model that are there among `labels`."""
        return {
            label: models[model_id]
            for label, models in self.of_models(labels).items()
            if model_id in models
        }

    def of_models(self, labels: Sequence[int]) -> dict[int, dict[str, NDArray[np.float32]]]:
        """Return all features that are there among `labels`, by label and model."""
        found: dict[int, dict[str, NDArray[np.float32]]] = {}
        for key, row in find_by_id(self._rows, _both(labels)).items():
            data = row["values"]
            # Of a row that was cut off, as many numbers as are whole: a wrong number of them.
            values = np.frombuffer(data, "<f4", count=len(data) // 4)
            found.setdefault(abs(key), {})[row["model_id"]] = values
        return found

    def remove(self, labels: Iterable[int]) -> None:
        """Forget all features of these labels."""
        delete_by_id(self._rows, _both(list(labels)))

    def keep_only(self, labels: Sequence[int], models: Collection[str]) -> None:
        """Forget the features of these labels that other models made, or that are there twice."""
        found = find_by_id(self._rows, _both(labels), ["model_id"])
        needless: dict[str, list[int]] = {}
        for key, row in found.items():
            model_id = row["model_id"]
            is_twice = key < 0 and found.get(-key, {}).get("model_id") == model_id
            if model_id not in models or is_twice:
                needless.setdefault(model_id, []).append(key)
        for model_id, keys in needless.items():
            # By the model too, for somebody may have taken the place since. One by one: the
            # embedded server deletes nothing by `$in` of both.
            self._rows.delete_many({"_id": {"$in": keys}, "model_id": model_id})


def _both(labels: Sequence[int]) -> list[int]:
    return [key for label in labels for key in (label, -label)]


def _row(key: int, model_id: str, values: NDArray[np.float32]) -> Row:
    return {"_id": key, "model_id": model_id, "values": Binary(values.astype("<f4").tobytes())}
