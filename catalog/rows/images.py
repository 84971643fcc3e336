"""The images: what the client said of each, and how it ended.

The state is derived from two fields that are written once: an image with `deleted_at` is
deleted whatever its outcome, and an outcome stays. So no late message brings an image back.

`succeed`, with an epoch, is for the index stage alone. `fail`, `delete` and `remove` change rows
only; other code calls `catalog.flows.removal`, which also releases names, bytes and slots.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, NamedTuple

from catalog.database.connection import (
    Row,
    Rows,
    delete_by_id,
    find_by_id,
    moment_or_none,
    now,
    stamp,
    update_by_id,
)
from catalog.database.durations import Durations
from catalog.rows.products import ProductFields, ProductRow

#: The outcome of an image that searches find; any other is that of a `Failure`.
SUCCEEDED = "SUCCEEDED"


@dataclass(frozen=True, kw_only=True)
class ImageRow(ProductFields):
    """An image as its row says, with a copy of what its product is said to be.

    `url` is None where the client sent Base64.
    """

    label: int
    collection: str  #: the key of its collection
    generation: str
    product_serial: int
    image_id: str
    image_info: str
    url: str | None
    outcome: str | None = None
    deleted_at: datetime | None = None
    index_at: datetime | None = None  #: when the sweep asks the index again; None for never
    task_id: str | None = None  #: None in rows of releases that did not write it
    product_version: int = 0  #: the version of the product that was copied

    @property
    def is_open(self) -> bool:
        """Whether the image has no outcome and was not deleted."""
        return self.outcome is None and self.deleted_at is None

    @property
    def is_dead(self) -> bool:
        """Whether the image was deleted or failed."""
        return self.deleted_at is not None or self.outcome not in (None, SUCCEEDED)

    @property
    def is_findable(self) -> bool:
        """Whether a search may return the image."""
        return self.outcome == SUCCEEDED and self.deleted_at is None

    @property
    def shows_as(self) -> tuple[str, bool, bool]:
        """What of this row matters to the index: it treats rows with equal values alike."""
        return self.category, self.is_findable, self.is_dead

    @classmethod
    def from_row(cls, row: Row) -> ImageRow:
        """Return the image of a row."""
        return cls(
            label=row["_id"],
            collection=row["collection"],
            generation=row["generation"],
            product_serial=row["product_serial"],
            **ProductFields.in_row(row),
            image_id=row["image_id"],
            image_info=row["image_info"],
            url=row["url"],
            outcome=row["outcome"],
            deleted_at=moment_or_none(row["deleted_at"]),
            index_at=moment_or_none(row.get("index_at")),
            task_id=row.get("task_id"),
            product_version=row.get("product_version", 0),
        )

    def to_row(self) -> Row:
        """Return the row of an image."""
        return {
            "_id": self.label,
            "collection": self.collection,
            "generation": self.generation,
            "product_serial": self.product_serial,
            **self.product_fields(),
            "image_id": self.image_id,
            "image_info": self.image_info,
            "url": self.url,
            "task_id": self.task_id,
            "outcome": self.outcome,
            "deleted_at": None if self.deleted_at is None else stamp(self.deleted_at),
            **({} if self.index_at is None else {"index_at": stamp(self.index_at)}),
            **_version(self.product_version),
        }


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an image failed, as its row says."""

    FIELDS: ClassVar = ("outcome", "detail", "retryable", "stage", "ended_at")

    message: str
    detail: str = ""
    is_retryable: bool = False
    stage: str = ""
    failed_at: datetime | None = None  #: once it is in the row

    @classmethod
    def from_row(cls, row: Row) -> Failure:
        """Return the failure of an image's row."""
        return cls(
            message=row["outcome"],
            detail=row.get("detail", ""),
            is_retryable=bool(row.get("retryable")),
            stage=row.get("stage", ""),
            failed_at=moment_or_none(row.get("ended_at")),
        )

    def to_row(self) -> Row:
        """Return the fields of an image's row that tell of the failure, but for the time."""
        return {
            "outcome": self.message,
            "detail": self.detail,
            # A number: the embedded server turns a boolean that an update sets into one.
            "retryable": int(self.is_retryable),
            "stage": self.stage,
        }


class Place(NamedTuple):
    """The generation and the category of an image, which name its set in the index.

    An image that is not findable belongs to no set.
    """

    label: int
    generation: str
    category: str
    is_findable: bool


#: The fields that are read to make a Place.
_PLACE_FIELDS = ("generation", "category", "outcome", "deleted_at")


def _version(product_version: int) -> Row:
    """Return the field of a version; {} for 0, as in rows of releases without versions."""
    return {"product_version": product_version} if product_version else {}


class Images:
    """The rows of images; `_id` is the label."""

    def __init__(self, rows: Rows, times: Durations) -> None:
        """Take from `times` how long the row of a deleted image is kept, and the lease.

        A message that asks the index to look at an image counts as lost after a lease.
        """
        self._rows = rows
        self._times = times

    def insert(self, images: Sequence[ImageRow]) -> None:
        """Insert new images. Raises BulkWriteError if a label exists already."""
        self._rows.insert_many([image.to_row() for image in images], ordered=False)

    def find(self, labels: Sequence[int]) -> dict[int, ImageRow]:
        """Return the images with these labels, by label; missing ones are left out."""
        return {
            label: ImageRow.from_row(row) for label, row in find_by_id(self._rows, labels).items()
        }

    def estimated_count(self) -> int:
        """Return about how many rows there are, those of deleted images included."""
        return self._rows.estimated_document_count()

    def of_product(self, product_serial: int) -> list[ImageRow]:
        """Return all images of a product that have a row, dead ones too, oldest first."""
        found = (
            ImageRow.from_row(row) for row in self._rows.find({"product_serial": product_serial})
        )
        return sorted(found, key=lambda image: image.label)

    def fail(self, labels: Sequence[int], failure: Failure) -> None:
        """Set the outcome of images that have none to a failure; the others stay as they are."""
        self._end(labels, {"outcome": None}, {**failure.to_row(), "ended_at": stamp(now())})

    def failures(self, labels: Sequence[int]) -> dict[int, Failure]:
        """Return why images failed, by label; those that did not, or have no row, are left out.

        Rows of releases that wrote the message alone have no detail.
        """
        found = find_by_id(self._rows, labels, Failure.FIELDS)
        return {
            label: Failure.from_row(row)
            for label, row in found.items()
            if row["outcome"] not in (None, SUCCEEDED)
        }

    def claim_for_index(self, labels: Sequence[int], epoch: int) -> None:
        """Stamp the epoch of an index owner on images that have no outcome yet.

        A higher epoch stays. After this call, and before it makes the images findable, the
        owner must check that it still is the owner.
        """
        update_by_id(self._rows, labels, {"$max": {"index_epoch": epoch}}, {"outcome": None})

    def take_over(self, epoch: int) -> None:
        """Stamp the epoch of a new index owner on all images that have a lower one."""
        self._rows.update_many({"index_epoch": {"$lt": epoch}}, {"$set": {"index_epoch": epoch}})

    def succeed(self, labels: Sequence[int], epoch: int | None = None) -> None:
        """Make images findable that have no outcome yet and were not deleted.

        If an `epoch` is given, images with another stamp stay as they are. The index stage gives
        its own; without one, no index process may be at work. Call this when the vectors are in
        the index: `places_shown` goes by the time of this write.
        """
        stamped = {} if epoch is None else {"index_epoch": epoch}
        at = stamp(now())
        where = {"outcome": None, "deleted_at": None, **stamped}
        self._end(labels, where, {"outcome": SUCCEEDED, "ended_at": at, "shown_at": at})

    def _end(self, labels: Sequence[int], where: Row, fields: Row) -> None:
        update_by_id(self._rows, labels, {"$set": fields, "$unset": {"index_epoch": 1}}, where)

    def shown(self, labels: Sequence[int]) -> None:
        """Note that the index was just changed to agree with the rows of these images."""
        update_by_id(self._rows, labels, {"$set": {"shown_at": stamp(now())}})

    def places_shown(self, since: datetime, page: int) -> Iterator[list[Place]]:
        """Yield, page by page, the images for which the index was changed since a time.

        Images whose change the index may not have confirmed come first. An image may come twice,
        since one that is confirmed between the two reads must not be missed by both.
        """
        for due in ({"index_at": {"$gt": 0}}, {"shown_at": {"$gte": stamp(since)}}):
            yield from self._places(due, page)

    def places_of(self, generation: str, page: int) -> Iterator[list[Place]]:
        """Yield, page by page, the findable images of a generation."""
        for found in self._places({"generation": generation}, page):
            yield [place for place in found if place.is_findable]

    def _places(self, due: Row, page: int) -> Iterator[list[Place]]:
        # One cursor: the embedded server reads everything again for each page of a range.
        with self._rows.find(due, _PLACE_FIELDS).batch_size(page) as rows:
            while found := list(itertools.islice(rows, page)):
                yield [
                    Place(
                        row["_id"],
                        row["generation"],
                        row["category"],
                        row["outcome"] == SUCCEEDED and row["deleted_at"] is None,
                    )
                    for row in found
                ]

    def set_info(self, label: int, image_info: str) -> None:
        """Replace the `image_info` of an image; do nothing if it has no row."""
        self._rows.update_one({"_id": label}, {"$set": {"image_info": image_info}})

    def set_product(self, images: Iterable[ImageRow], product: ProductRow) -> None:
        """Copy what a client said of a product, and its version, into its images.

        An image whose version has changed since it was read stays as it is. The same write makes
        the index look again at images whose category changes.
        """
        groups: dict[tuple[int, bool], list[int]] = {}
        for image in images:
            moves = image.category != product.category
            groups.setdefault((image.product_version, moves), []).append(image.label)
        values = product.product_fields() | _version(product.version)
        for (read, moves), labels in groups.items():
            reminder = {"index_at": self._index_at()} if moves else {}
            as_read = {"product_version": read or None}
            update_by_id(self._rows, labels, {"$set": values | reminder}, as_read)

    def of_generation(self, generation: str, limit: int) -> list[ImageRow]:
        """Return at most `limit` images of a generation, in no particular order."""
        return [
            ImageRow.from_row(row)
            for row in self._rows.find({"generation": generation}).limit(limit)
        ]

    def count_findable(self, generation: str) -> dict[str, int]:
        """Return the count of findable images of a generation by category; {} if there are none."""
        # Without other sums, the embedded server counts without reading the rows.
        found = self._rows.aggregate(
            [
                {"$match": {"generation": generation, "outcome": SUCCEEDED, "deleted_at": None}},
                {"$group": {"_id": "$category", "count": {"$sum": 1}}},
            ]
        )
        return {row["_id"]: row["count"] for row in found}

    def remove(self, labels: Sequence[int]) -> None:
        """Remove the rows of images; nothing may refer to them any more."""
        delete_by_id(self._rows, labels)

    def remove_as_read(self, images: Iterable[ImageRow]) -> None:
        """Remove the rows of images, except those that got an outcome since they were read."""
        ended: dict[bool, list[int]] = {True: [], False: []}
        for image in images:
            ended[image.outcome is not None].append(image.label)
        delete_by_id(self._rows, ended[True])
        delete_by_id(self._rows, ended[False], {"outcome": None})

    def delete(self, labels: Sequence[int]) -> None:
        """Flag images as deleted; index and blobs are cleared later, by the sweep at the latest."""
        deleted_at = now()
        update_by_id(
            self._rows,
            labels,
            {
                "$set": {
                    "deleted_at": stamp(deleted_at),
                    "index_at": stamp(deleted_at + self._times.lease),
                }
            },
            {"deleted_at": None},
        )

    def waiting_for_index(self, before: datetime, limit: int) -> list[ImageRow]:
        """Return at most `limit` images whose reminder for the index was due before that time."""
        return [
            ImageRow.from_row(row)
            for row in self._rows.find({"index_at": {"$lt": stamp(before)}}).limit(limit)
        ]

    def index_is_right(self, images: Iterable[ImageRow]) -> None:
        """Remove the reminders of images for which index and blobs agree with the rows read.

        A reminder that was written since they were read stays.
        """
        by_reminder: dict[datetime, list[int]] = {}
        for image in images:
            if image.index_at is not None:
                by_reminder.setdefault(image.index_at, []).append(image.label)
        for index_at, labels in by_reminder.items():
            read = {"index_at": stamp(index_at)}
            update_by_id(self._rows, labels, {"$unset": {"index_at": 1}}, read)

    def ask_index(self, labels: Iterable[int]) -> None:
        """Set a reminder: the sweep makes the index look at these images after a lease."""
        update_by_id(self._rows, labels, {"$set": {"index_at": self._index_at()}})

    def _index_at(self) -> int:
        return stamp(now() + self._times.lease)

    def schedule_removal(self, labels: Iterable[int]) -> None:
        """Schedule the removal of the rows of images of which nothing else is left."""
        remove_at = stamp(now() + self._times.deleted)
        update_by_id(self._rows, labels, {"$set": {"remove_at": remove_at}})

    def to_be_removed(self, at: datetime, limit: int) -> list[ImageRow]:
        """Return at most `limit` images whose rows are to be removed by that time."""
        due = {"remove_at": {"$gt": 0, "$lte": stamp(at)}}
        return [
            ImageRow.from_row(row)
            for row in self._rows.find(due).limit(limit).batch_size(limit + 1)
        ]
