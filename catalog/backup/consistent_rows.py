"""Which rows of a backup make one consistent catalogue, although tables were read in turn.

The backup is read several times, without a database; only numbers of each table are kept in
memory. Rows deleted while the backup was taken are recognised by what is missing. A findable
image is kept if its collection, its product, its claim on its name and its vector are there; a
pending one if an open chunk names it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from catalog.database.connection import Row
from catalog.rows.chunks import State
from catalog.rows.images import SUCCEEDED


class Source(Protocol):
    """The tables of a backup; each may be read any number of times."""

    def rows(self, table: str) -> Iterator[Row]:
        """Yield the documents of a table; none if there is no such table."""
        ...


@dataclass(frozen=True)
class Contents:
    """The counts of what a restore of a backup brings back.

    `left_out` counts images that were deleted after their row was read and before the backup
    was complete.
    """

    collections: int
    products: int
    findable: int
    under_way: int
    tasks: int
    left_out: int


class NumberSet:
    """A set of 64-bit integers that takes eight bytes for each."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._sorted: NDArray[np.int64] = np.unique(np.array(array("q", numbers), np.int64))

    def __contains__(self, number: int) -> bool:
        place = int(np.searchsorted(self._sorted, number))
        return place < len(self._sorted) and int(self._sorted[place]) == number

    def __len__(self) -> int:
        return len(self._sorted)


class ConsistentRows:
    """Decides which rows of a backup are restored."""

    def __init__(self, source: Source) -> None:
        """Read the tables that decide it; raises what `source` raises."""
        self._source = source
        #: The keys of the collections by their generations.
        self.collections = {row["generation"]: row["_id"] for row in source.rows("collections")}
        #: The highest label or serial in the backup.
        self.highest = max((row["last"] for row in source.rows("numbers")), default=0)
        self.product_counts: Counter[str] = Counter()
        self._serials = NumberSet(self._living_serials())
        self._named = NumberSet(row["label"] for row in source.rows("image_names"))
        self._sent = NumberSet(row["_id"] for row in source.rows("payloads"))
        self._models = {
            row["generation"]: row.get("model_id") for row in source.rows("collections")
        }
        self._embedded = _embedded(source)
        self._whole_tasks = _whole_tasks(source)
        self._on_their_way = NumberSet(self._labels_of_open_chunks())
        self.image_counts: Counter[str] = Counter()
        self._judge_images()

    def is_living_product(self, row: Row) -> bool:
        """Return whether the product of a row is restored."""
        return row["deleted_at"] is None and row["generation"] in self.collections

    def is_whole_task(self, task_id: str) -> bool:
        """Return whether the chunks of a task name all of its images."""
        return _hash(task_id) in self._whole_tasks

    def is_living(self, label: int) -> bool:
        """Return whether an image is restored, as findable or as pending."""
        return label in self._living

    def is_on_its_way(self, label: int) -> bool:
        """Return whether an open chunk of a whole task names the image."""
        return label in self._on_their_way

    def labels_in_slots(self, product_serial: int) -> list[int]:
        """Return the labels of the restored images of a product, in order; [] if it has none."""
        first, last = np.searchsorted(self._owners, [product_serial, product_serial + 1])
        found: list[int] = sorted(self._owned[first:last].tolist())
        return found

    def _living_serials(self) -> Iterator[int]:
        for row in self._source.rows("products"):
            self.highest = max(self.highest, row["serial"])
            if self.is_living_product(row):
                self.product_counts[row["generation"]] += 1
                yield row["serial"]

    def _labels_of_open_chunks(self) -> Iterator[int]:
        for row in self._source.rows("chunks"):
            if row["state"] != State.DONE and self.is_whole_task(row["task_id"]):
                yield from (item[0] for item in row["items"])

    def _judge_images(self) -> None:
        labels, serials = array("q"), array("q")
        findable = left_out = 0
        for row in self._source.rows("images"):
            self.highest = max(self.highest, row["_id"], row["product_serial"])
            if row["deleted_at"] is not None or row["outcome"] not in (None, SUCCEEDED):
                continue
            if self._has_everything(row):
                labels.append(row["_id"])
                serials.append(row["product_serial"])
                findable += row["outcome"] == SUCCEEDED
                self.image_counts[row["generation"]] += 1
            else:
                left_out += 1
        self._living = NumberSet(labels)
        order = np.argsort(np.array(serials, np.int64), kind="stable")
        self._owners = np.array(serials, np.int64)[order]
        self._owned = np.array(labels, np.int64)[order]
        self.contents = Contents(
            collections=len(self.collections),
            products=len(self._serials),
            findable=findable,
            under_way=len(labels) - findable,
            tasks=len(self._whole_tasks),
            left_out=left_out,
        )

    def _has_everything(self, row: Row) -> bool:
        label = row["_id"]
        is_held = (
            row["generation"] in self.collections
            and row["product_serial"] in self._serials
            and label in self._named
        )
        model_id = self._models.get(row["generation"])
        embedded = [labels for maker, labels in self._embedded.items() if model_id in (None, maker)]
        is_embedded = any(label in labels for labels in embedded)
        if row["outcome"] == SUCCEEDED:
            return is_held and is_embedded
        has_bytes = row["url"] is not None or label in self._sent or is_embedded
        return is_held and has_bytes and label in self._on_their_way


def _embedded(source: Source) -> dict[str, NumberSet]:
    """Return the labels that have a vector, by the model that made it."""
    labels: dict[str, array[int]] = {}
    for row in source.rows("vectors"):
        labels.setdefault(row["model_id"], array("q")).append(abs(row["_id"]))
    return {model_id: NumberSet(some) for model_id, some in labels.items()}


def _whole_tasks(source: Source) -> NumberSet:
    """Return the hashes of the tasks whose chunks name as many images as the task took."""
    tasks, labels = array("q"), array("q")
    for row in source.rows("chunks"):
        task = _hash(row["task_id"])
        for item in row["items"]:
            tasks.append(task)
            labels.append(item[0])
    # While a chunk is being split, an image is in two; count it once.
    pairs = np.array([tasks, labels], np.int64)
    pairs = pairs[:, np.lexsort(pairs[::-1])]
    is_new = np.any(pairs[:, 1:] != pairs[:, :-1], axis=0)
    found, counts = np.unique(
        pairs[0][np.concatenate([np.ones(min(1, len(tasks)), bool), is_new])], return_counts=True
    )

    def whole() -> Iterator[int]:
        for row in source.rows("tasks"):
            task = _hash(row["_id"])
            place = int(np.searchsorted(found, task))
            is_found = place < len(found) and found[place] == task
            count = int(counts[place]) if is_found else 0
            # A submission that was not opened has no client that knows its task id.
            if "submission" not in row and count == row["image_count"]:
                yield task

    return NumberSet(whole())


def _hash(task_id: str) -> int:
    digest = hashlib.blake2b(task_id.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
