"""A catalogue with work in it, what may happen to it while it is read, and an audit."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymongo import MongoClient

from catalog.database.connection import Row, databases, now, stamp
from catalog.flows.product_copies import copy_product
from catalog.flows.removal import delete_collection, delete_images, delete_product, fail_images
from catalog.flows.splitting import split_off
from catalog.flows.submission import Draft, NewImage, Written, begin, open_task, write
from catalog.rows.chunks import TIME_FIELDS, Chunk, Stage, State
from catalog.rows.claims import content_key
from catalog.rows.collections import CollectionRow
from catalog.rows.images import SUCCEEDED
from catalog.rows.models import ModelRow
from catalog.rows.products import ProductFields, ProductRow
from catalog.rows.tasks import TaskRow, state_fields
from catalog.schema.indexes import create_indexes
from catalog.schema.version import Schema
from catalog.store import Catalog
from contract.errors import BrokenBase64OrUrl
from tests.catalogues import default_catalog

MODEL = ModelRow("model", 4)


@dataclass(frozen=True)
class Taken:
    """A call of add_image that was taken."""

    task: TaskRow
    chunks: list[Chunk]

    @property
    def labels(self) -> list[int]:
        """The labels of its images."""
        return [label for chunk in self.chunks for label in chunk.labels]


@dataclass(frozen=True)
class Victim:
    """A collection with one product, and images that are done or on their way."""

    collection: CollectionRow
    product: ProductRow
    done: Taken
    waiting: Taken

    @property
    def done_labels(self) -> list[int]:
        return self.done.labels

    @property
    def waiting_labels(self) -> list[int]:
        return self.waiting.labels


class Busy:
    """The catalogue `name`, and everything that clients and workers do to it."""

    def __init__(self, client: MongoClient[Row], name: str, chunk_images: int = 16) -> None:
        Schema(*databases(client, name)).bring_up_to_date()
        create_indexes(client, name)
        self.client = client
        self.name = name
        self.chunk_images = chunk_images
        self.rows, self.blobs = databases(client, name)
        self.catalog: Catalog = default_catalog(client, name)
        self.catalog.models.adopt(MODEL)

    def victim(self, user: str = "1001") -> Victim:
        """Return a new collection with images that are done and others that wait."""
        collection = self.catalog.collections.find_or_create(user, uuid.uuid4().hex[:8], 0)
        product = self.add_product(collection, "shirt")
        done = self.submit(collection, product, "first", "second", payload=None)
        self.finish(done)
        waiting = self.submit(collection, product, "third", "fourth", payload=b"picture")
        return Victim(collection, product, done, waiting)

    def add_product(self, collection: CollectionRow, product_id: str) -> ProductRow:
        new = ProductFields(
            product_id=product_id, product_name=f"name of {product_id}", category="其他"
        )
        assert self.catalog.products.insert(collection, [new]) == {}
        self.catalog.collections.add_products(collection.key, collection.generation, 1)
        return self.catalog.products.find(collection.generation, [product_id])[product_id]

    def submit(
        self,
        collection: CollectionRow,
        product: ProductRow,
        *image_ids: str,
        payload: bytes | None,
    ) -> Taken:
        draft, written = self.write(collection, product, *image_ids, payload=payload)
        task = open_task(self.catalog, draft, written)
        self.catalog.chunks.mark_sent(written.chunks)
        return Taken(task, self.catalog.chunks.find(task.chunk_ids))

    def write(
        self,
        collection: CollectionRow,
        product: ProductRow,
        *image_ids: str,
        payload: bytes | None,
    ) -> tuple[Draft, Written]:
        """Do all of a submission but its end."""
        url = None if payload else "http://pictures.example/a.jpg"
        images = [
            NewImage(
                product_id=product.product_id,
                image_id=i,
                image_info="info",
                url=url,
                payload=payload,
            )
            for i in image_ids
        ]
        products = {product.product_id: product}
        draft = begin(self.catalog, collection, dict(enumerate(images)), products)
        written = write(self.catalog, draft, images_per_product=0, chunk_images=self.chunk_images)
        assert written.refused == {}
        return draft, written

    def finish(self, taken: Taken) -> None:
        """Do what the stages do, up to the end of the task."""
        for chunk in taken.chunks:
            held = self.catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
            assert held is not None
            keys = {
                content_key(i.product_serial, f"hash {i.image_id}"): i.label for i in held.items
            }
            self.catalog.contents.take(keys)
            self.catalog.pictures.put(dict.fromkeys(held.labels, b"jpeg"))
            self.catalog.local_features.put(dict.fromkeys(held.labels, b"points"))
            self.catalog.vectors.put(
                MODEL.model_id, {n: np.full((1 + n % 3, 4), n, np.float32) for n in held.labels}
            )
            held = self.catalog.chunks.advance(held, Stage.INDEX, held.items)
            assert held is not None
            held = self.catalog.chunks.claim(held.id, Stage.INDEX, held.attempt)
            assert held is not None
            self.catalog.images.succeed(held.labels)
            self.catalog.payloads.remove(held.labels)
            assert self.catalog.chunks.finish(held, [SUCCEEDED] * len(held.items))
        self.catalog.tasks.finish(taken.task.task_id, len(taken.labels), 0)

    def fail(self, taken: Taken) -> None:
        """Let all images that were taken in end with a fault."""
        for chunk in taken.chunks:
            held = self.catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
            assert held is not None
            fail_images(self.catalog, dict.fromkeys(held.labels, BrokenBase64OrUrl()), "vision")
            message = BrokenBase64OrUrl.message
            assert self.catalog.chunks.finish(held, [message] * len(held.items))
        self.catalog.tasks.finish(taken.task.task_id, 0, len(taken.labels))

    def clear(self, labels: Sequence[int]) -> None:
        """Clear the blobs of dead images as the index does, some time after their end."""
        self.catalog.vectors.remove(labels)
        self.catalog.pictures.remove(labels)
        self.catalog.local_features.remove(labels)

    # What may happen while the tables are read, by name.

    def image_is_deleted(self, victim: Victim) -> None:
        delete_images(self.catalog, victim.done_labels[:1])

    def image_is_deleted_and_cleared(self, victim: Victim) -> None:
        self.image_is_deleted(victim)
        self.clear(victim.done_labels[:1])

    def waiting_image_is_deleted(self, victim: Victim) -> None:
        delete_images(self.catalog, victim.waiting_labels[:1])

    def image_is_replaced_by_one_of_its_name(self, victim: Victim) -> None:
        self.image_is_deleted(victim)
        again = self.submit(victim.collection, victim.product, "first", payload=b"new")
        self.finish(again)

    def product_is_deleted(self, victim: Victim) -> None:
        self.catalog.products.begin_deletion([victim.product])
        delete_product(self.catalog, victim.product)

    def product_is_made_again(self, victim: Victim) -> None:
        self.product_is_deleted(victim)
        product = self.add_product(victim.collection, victim.product.product_id)
        self.finish(self.submit(victim.collection, product, "first", payload=b"new"))

    def product_begins_to_be_deleted(self, victim: Victim) -> None:
        self.catalog.products.begin_deletion([victim.product])

    def product_is_changed(self, victim: Victim) -> None:
        values = {"product_name": "new name", "category": "服装"}
        changed = self.catalog.products.change(victim.product, values)
        assert changed is not None
        copy_product(self.catalog, changed)

    def collection_is_deleted(self, victim: Victim) -> None:
        delete_collection(self.catalog, victim.collection)

    def collection_is_made_again(self, victim: Victim) -> None:
        delete_collection(self.catalog, victim.collection)
        name = victim.collection.name
        again = self.catalog.collections.find_or_create(victim.collection.user, name, 0)
        self.add_product(again, victim.product.product_id)

    def collection_is_added(self, victim: Victim) -> None:
        self.catalog.collections.find_or_create(victim.collection.user, uuid.uuid4().hex[:8], 0)

    def submission_is_not_ended(self, victim: Victim) -> None:
        self.write(victim.collection, victim.product, "ninth", "tenth", payload=b"more")

    def task_is_forgotten(self, victim: Victim) -> None:
        self.catalog.chunks.remove([chunk.id for chunk in victim.done.chunks])
        self.catalog.tasks.remove(victim.done.task.task_id)

    def work_ends(self, victim: Victim) -> None:
        self.finish(victim.waiting)

    def work_fails(self, victim: Victim) -> None:
        self.fail(victim.waiting)

    def work_ends_and_is_deleted(self, victim: Victim) -> None:
        self.finish(victim.waiting)
        delete_images(self.catalog, victim.waiting_labels)
        self.clear(victim.waiting_labels)

    def chunk_is_split(self, victim: Victim) -> None:
        for chunk in victim.waiting.chunks:
            held = self.catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
            assert held is not None
            split_off(self.catalog, held, dict.fromkeys(held.items, now()), 1)
            assert self.catalog.chunks.advance(held, Stage.INDEX, ()) is not None

    def images_are_added(self, victim: Victim) -> None:
        self.submit(victim.collection, victim.product, "fifth", "sixth", payload=b"more")
        self.finish(self.submit(victim.collection, victim.product, "seventh", payload=None))

    def product_is_added(self, victim: Victim) -> None:
        product = self.add_product(victim.collection, "trousers")
        self.finish(self.submit(victim.collection, product, "eighth", payload=None))


EVENTS = [name for name in vars(Busy) if "_is_" in name or "_are_" in name or "_to_be_" in name] + [
    "work_ends",
    "work_fails",
]


def audit(client: MongoClient[Row], name: str) -> dict[int, Row]:
    """Look whether a restored catalogue is of one piece; return its living images by label."""
    rows, blobs = databases(client, name)
    tables: dict[str, dict[Any, Row]] = {
        table: {row["_id"]: row for row in database[table].find()}
        for database in (rows, blobs)
        for table in database.list_collection_names()
    }
    table = defaultdict[str, dict[Any, Row]](dict, tables)
    open_chunks = [c for c in table["chunks"].values() if c["state"] != State.DONE]
    on_their_way = {item[0] for chunk in open_chunks for item in chunk["items"]}
    generations = {row["generation"]: row for row in table["collections"].values()}
    serials = {row["serial"]: row for row in table["products"].values()}
    living = {
        label: row
        for label, row in table["images"].items()
        if row["deleted_at"] is None and row["outcome"] in (None, SUCCEEDED)
    }

    for label, image in living.items():
        product = serials[image["product_serial"]]
        assert product["generation"] == image["generation"]
        assert image["generation"] in generations
        assert (image["product_name"], image["category"]) == (
            product["product_name"],
            product["category"],
        )
        assert image.get("product_version") == product.get("version")
        assert table["image_names"][f"{image['generation']}/{image['image_id']}"]["label"] == label
        if image["outcome"] == SUCCEEDED:
            assert label in table["vectors"]
        else:
            assert label in on_their_way
            assert image["url"] or label in table["payloads"].keys() | table["vectors"].keys()
    assert table["images"].keys() - living.keys() <= on_their_way
    assert len(table["image_names"]) == len(living)
    assert {row["label"] for row in table["image_contents"].values()} <= living.keys()
    for blob in ("payloads", "vectors", "pictures", "local_features"):
        assert table[blob].keys() <= living.keys()

    owned: dict[int, set[int]] = {}
    for label, image in living.items():
        owned.setdefault(image["product_serial"], set()).add(label)
    assert {n: set(row["places"]) for n, row in serials.items()} == {
        n: owned.get(n, set()) for n in serials
    }
    assert all(row["deleted_at"] is None for row in serials.values())
    products = Counter(row["generation"] for row in serials.values())
    images = Counter(row["generation"] for row in living.values())
    for generation, row in generations.items():
        assert (row["product_count"], row["image_count"]) == (
            products[generation],
            images[generation],
        )
    named = {f"{u}/{n}" for u, row in table["users"].items() for n in row["collections"]}
    assert named == table["collections"].keys()
    assert sum(len(row["collections"]) for row in table["users"].values()) == len(named)
    _audit_tasks(table, open_chunks)
    highest = max([0, *table["images"], *serials])
    assert table["numbers"]["number"]["last"] >= highest
    return living


def _audit_tasks(table: dict[str, dict[Any, Row]], open_chunks: list[Row]) -> None:
    for chunk in open_chunks:
        assert chunk["state"] == State.WAITING
        assert [field for field in TIME_FIELDS if field in chunk] == ["start_at"]
        assert chunk["start_at"] <= stamp(now())
    assert all(chunk["task_id"] in table["tasks"] for chunk in table["chunks"].values())
    for task in table["tasks"].values():
        chunks = [table["chunks"][chunk_id] for chunk_id in task["chunk_ids"]]
        assert len({i[0] for chunk in chunks for i in chunk["items"]}) == task["image_count"]
        is_done = all(chunk["state"] == State.DONE for chunk in chunks)
        assert ("open_since" in task) == (task["finished_at"] is None)
        assert ("remove_at" in task) == (task["finished_at"] is not None)
        listed = state_fields(task["_id"], is_finished=task["finished_at"] is not None)
        assert listed.items() <= task.items()
        assert is_done or task["finished_at"] is None
        assert task["finished_at"] or not is_done or any("settle_at" in c for c in chunks)
