"""The products of a collection, and the images of each.

The serial of a product is never used again; images keep it, so that a product that was deleted
and created again never takes over the images of the first. A product's row has the labels of
its images, in the order in which they came, each in a slot: taking or giving back a slot is
idempotent, and the first images get the slots if there are too few.

Each change of what the client said raises the version, in the write that also sets a reminder
(`copy_at`); it is removed once every image has that version, see
`catalog.flows.product_copies`. A row without a version has version 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError

from catalog.coordination.numbers import Numbers
from catalog.database.connection import (
    DUPLICATE_KEY,
    Row,
    Rows,
    delete_by_id,
    find_by_id,
    now,
    refused_writes,
    stamp,
)
from catalog.database.pages import Page, cut, within
from catalog.rows.collections import CollectionRow
from contract.errors import ContractError, ExistingProduct, InsertProductError

#: Images that a product may have if its limit is 0. Each is in the product's row, and each new
#: one is compared with all: on the embedded server 200 more then take 0.4 s (1.1 s at 10,000,
#: 15 s at 100,000). The setting `images_per_product` has the same bound.
MOST_IMAGES = 3000

#: An upper bound, exclusive, of all serials.
LAST_SERIAL = 2**63


@dataclass(frozen=True, kw_only=True)
class ProductFields:
    """What a client says of a product.

    The product's row has these fields, and the row of each of its images a copy of them, for
    searches. A field that rows of earlier releases lack needs a default.
    """

    product_id: str
    product_name: str
    category: str

    def product_fields(self) -> Row:
        """Return these fields by name, as they are in a row, and none of a subclass."""
        return {one.name: getattr(self, one.name) for one in fields(ProductFields)}

    @staticmethod
    def in_row(row: Row) -> Row:
        """Return those of these fields that the row of a product or an image has."""
        return {one.name: row[one.name] for one in fields(ProductFields) if one.name in row}


#: The fields of a product that the answer to a search has.
FOUND_FIELDS = ("product_id", "product_name")


@dataclass(frozen=True, kw_only=True)
class ProductRow(ProductFields):
    """A product as its row says; `places` are the labels of its images when it was read."""

    collection: str  #: the key of its collection
    generation: str
    serial: int
    places: tuple[int, ...] = ()
    version: int = 0  #: how often what the client said was changed

    @property
    def image_count(self) -> int:
        """How many images the product has, pending ones included."""
        return len(self.places)

    @classmethod
    def from_row(cls, row: Row) -> ProductRow:
        """Return the product of a row."""
        return cls(
            collection=row["collection"],
            generation=row["generation"],
            serial=row["serial"],
            **ProductFields.in_row(row),
            places=tuple(row["places"]),
            version=row.get("version", 0),
        )


def image_limit(limit: int) -> int:
    """Return how many images a product may have; a limit of 0 stands for MOST_IMAGES."""
    return limit or MOST_IMAGES


def product_key(generation: str, product_id: str) -> str:
    """Return the `_id` of a product's row; a generation contains no "/"."""
    return f"{generation}/{product_id}"


def place_of(product: ProductRow) -> str:
    """Return the cursor of a product in the list of its collection, see `Products.page`."""
    return _listing(product.generation, product.serial)


def _listing(generation: str, serial: int) -> str:
    return f"{generation}/{serial:016x}"


def _key(product: ProductRow) -> str:
    return product_key(product.generation, product.product_id)


def _at_version(product: ProductRow) -> Row:
    return {"_id": _key(product), "serial": product.serial, "version": product.version}


class Products:
    """The rows of products."""

    def __init__(self, rows: Rows, numbers: Numbers, lease: timedelta) -> None:
        """Take how long after a change a copy that is not confirmed counts as cut off."""
        self._rows = rows
        self._numbers = numbers
        self._lease = lease

    def find(self, generation: str, product_ids: Iterable[str]) -> dict[str, ProductRow]:
        """Return products by product_id; missing and deleted ones are left out."""
        keys = [product_key(generation, product_id) for product_id in set(product_ids)]
        rows = find_by_id(self._rows, keys).values()
        return {
            row["product_id"]: ProductRow.from_row(row) for row in rows if row["deleted_at"] is None
        }

    def being_deleted(self, generation: str, product_ids: Iterable[str]) -> list[ProductRow]:
        """Return the products among `product_ids` whose deletion has begun and not ended."""
        keys = [product_key(generation, product_id) for product_id in set(product_ids)]
        rows = find_by_id(self._rows, keys).values()
        return [ProductRow.from_row(row) for row in rows if row["deleted_at"] is not None]

    def page(self, generation: str, after: str, limit: int) -> Page[ProductRow]:
        """Return a page of at most `limit` products in the order of their creation.

        `after` is a cursor, "" for the first page. A page may be shorter, since products being
        deleted are left out. Raises ValueError for a cursor of another list.
        """
        # One string for both: the embedded server pages by a single indexed field only.
        span = {
            "$gt": within(after, f"{generation}/") or _listing(generation, 0),
            "$lt": _listing(generation, LAST_SERIAL),
        }
        found = list(self._rows.find({"listing": span}).sort("listing", 1).limit(limit + 1))
        rows, place = cut(found, limit, lambda row: str(row["listing"]))
        return Page([ProductRow.from_row(row) for row in rows if row["deleted_at"] is None], place)

    def change(self, product: ProductRow, values: Mapping[str, Any]) -> ProductRow | None:
        """Change some of a product's fields; return it as it is then, None if it is gone.

        `values` are by the names of ProductFields. The caller copies the change to the images, see
        `catalog.flows.product_copies`; the sweep does it if that is not done within a lease.
        """
        row = self._rows.find_one_and_update(
            {"_id": _key(product), "serial": product.serial, "deleted_at": None},
            {"$set": {**values, "copy_at": self._copy_at()}, "$inc": {"version": 1}},
            return_document=ReturnDocument.AFTER,
        )
        return None if row is None else ProductRow.from_row(row)

    def _copy_at(self) -> int:
        return stamp(now() + self._lease)

    def copied(self, product: ProductRow) -> None:
        """Remove the reminder of this version of a product; that of a later version stays."""
        self._rows.update_one(_at_version(product), {"$unset": {"copy_at": 1}})

    def to_be_copied(self, at: datetime, limit: int) -> list[ProductRow]:
        """Return at most `limit` products whose reminder to copy was due by that time."""
        due = {"copy_at": {"$gt": 0, "$lte": stamp(at)}}
        return [ProductRow.from_row(row) for row in self._rows.find(due).limit(limit)]

    def put_off_copy(self, product: ProductRow) -> None:
        """Make the reminder of a product whose change could not be copied due after a lease."""
        self._rows.update_one(_at_version(product), {"$set": {"copy_at": self._copy_at()}})

    def of_generation(self, generation: str, limit: int) -> list[str]:
        """Return the keys of at most `limit` products of a generation."""
        span = {"$gt": _listing(generation, 0), "$lt": _listing(generation, LAST_SERIAL)}
        return [row["_id"] for row in self._rows.find({"listing": span}, ["_id"]).limit(limit)]

    def remove(self, keys: Sequence[str]) -> None:
        """Remove the products with these keys."""
        delete_by_id(self._rows, keys)

    def insert(
        self, collection: CollectionRow, products: Sequence[ProductFields]
    ) -> dict[int, type[ContractError]]:
        """Insert products, and return the faults of those that were not written, by position.

        The dict is empty if all were written.
        """
        created_at = stamp(now())
        serials = self._numbers.reserve(len(products))
        rows: list[Row] = [
            {
                "_id": product_key(collection.generation, product.product_id),
                "collection": collection.key,
                "generation": collection.generation,
                "serial": serial,
                "listing": _listing(collection.generation, serial),
                **product.product_fields(),
                "places": [],
                "created_at": created_at,
                "deleted_at": None,
            }
            for serial, product in zip(serials, products, strict=True)
        ]
        try:
            if rows:
                self._rows.insert_many(rows, ordered=False)
        except BulkWriteError as error:
            return {
                position: ExistingProduct if code == DUPLICATE_KEY else InsertProductError
                for position, code in refused_writes(error).items()
            }
        return {}

    def take_places(
        self, generation: str, wanted: Mapping[str, Sequence[int]]
    ) -> dict[str, ProductRow]:
        """Append labels to the slots of products, and return the products as they are then.

        Both by product_id; missing and deleted products are left out.
        """
        self._change_places(generation, {i: labels for i, labels in wanted.items() if labels}, True)
        return self.find(generation, wanted)

    def leave_places(self, generation: str, held: Mapping[str, Sequence[int]]) -> None:
        """Remove labels from the slots of their products, given by product_id."""
        self._change_places(generation, held, False)

    def _change_places(
        self, generation: str, labels_of: Mapping[str, Sequence[int]], is_taking: bool
    ) -> None:
        steps = [
            UpdateOne(
                {"_id": product_key(generation, product_id)},
                {"$addToSet": {"places": {"$each": list(labels)}}}
                if is_taking
                else {"$pullAll": {"places": list(labels)}},
            )
            for product_id, labels in labels_of.items()
        ]
        if steps:
            self._rows.bulk_write(steps, ordered=False)

    def held_places(
        self, wanted: Mapping[tuple[str, str], Sequence[int]]
    ) -> dict[tuple[str, str], list[int]]:
        """Return which of these labels have slots, by generation and product_id.

        Products in which none of the labels has a slot are left out.
        """
        keys = {product_key(*product): product for product in wanted}
        found = find_by_id(self._rows, list(keys), ["places"])
        held = {
            keys[key]: sorted(set(row["places"]).intersection(wanted[keys[key]]))
            for key, row in found.items()
        }
        return {product: labels for product, labels in held.items() if labels}

    def release_places(self, generation: str, product_id: str, labels: Sequence[int]) -> int:
        """Remove labels from the slots of a product, and return how many this call removed."""
        row = self._rows.find_one_and_update(
            {"_id": product_key(generation, product_id)},
            {"$pullAll": {"places": list(labels)}},
            return_document=ReturnDocument.BEFORE,
        )
        return 0 if row is None else len(set(row["places"]).intersection(labels))

    def count(self, generation: str) -> tuple[int, int]:
        """Return the count of products of a generation, and of images in all of them."""
        span = {"$gt": _listing(generation, 0), "$lt": _listing(generation, LAST_SERIAL)}
        found = self._rows.aggregate(
            [
                {"$match": {"listing": span}},
                {
                    "$group": {
                        "_id": None,
                        "products": {"$sum": 1},
                        "images": {"$sum": {"$size": "$places"}},
                    }
                },
            ]
        )
        return next(((row["products"], row["images"]) for row in found), (0, 0))

    def begin_deletion(self, products: Sequence[ProductRow]) -> None:
        """Flag products as deleted; from then on they take no images."""
        flag = {"$set": {"deleted_at": stamp(now())}}
        self._rows.bulk_write(
            [
                UpdateOne(
                    {"_id": _key(product), "serial": product.serial, "deleted_at": None}, flag
                )
                for product in products
            ],
            ordered=False,
        )

    def end_deletion(self, product: ProductRow) -> ProductRow | None:
        """Remove the row of a flagged product; return it, or None if another call removed it."""
        row = self._rows.find_one_and_delete({"_id": _key(product), "serial": product.serial})
        return None if row is None else ProductRow.from_row(row)

    def unfinished_deletions(self, before: datetime, limit: int) -> list[ProductRow]:
        """Return at most `limit` products whose deletion began before that time and didn't end."""
        return [
            ProductRow.from_row(row)
            for row in self._rows.find({"deleted_at": {"$lt": stamp(before)}}).limit(limit)
        ]
