"""A catalogue with work in it, what may happen to it while it is read, and an audit."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymongo import MongoClient

from catalog.chunks import Stage, State
from catalog.claims import content_key
from catalog.collections import CollectionRow
from catalog.connection import Row, databases, now, stamp
from catalog.endings import delete_collection, delete_images, delete_product, fail_images
from catalog.images import SUCCEEDED
from catalog.models import ModelRow
from catalog.products import NewProduct, ProductRow
from catalog.schema import Schema
from catalog.splitting import split_off
from catalog.store import Catalog, create_indexes, open_catalog
from catalog.submission import NewImage, Submission, take_images
from contract.errors import BrokenBase64OrUrl

MODEL = ModelRow("model", 4)


@dataclass(frozen=True)
class Victim:
    """A collection with one product, and images that are done or on their way."""

    collection: CollectionRow
    product: ProductRow
    done: Submission
    waiting: Submission

    @property
    def done_labels(self) -> list[int]:
        return labels_of(self.done)

    @property
    def waiting_labels(self) -> list[int]:
        return labels_of(self.waiting)


def labels_of(submission: Submission) -> list[int]:
    return [label for chunk in submission.chunks for label in chunk.labels]


class Busy:
    """The catalogue `name`, and everything that clients and workers do to it."""

    def __init__(self, client: MongoClient[Row], name: str) -> None:
        Schema(*databases(client, name)).bring_up_to_date()
        create_indexes(client, name)
        self.client = client
        self.name = name
        self.rows, self.blobs = databases(client, name)
        self.catalog: Catalog = open_catalog(client, name, 1.0)
        self.catalog.models.adopt(MODEL)

    def victim(self, user: str = "1001") -> Victim:
        collection = self.catalog.collections.find_or_create(user, uuid.uuid4().hex[:8], 0)
        product = self.add_product(collection, "shirt")
        done = self.submit(collection, product, "first", "second", payload=None)
        self.finish(done)
        waiting = self.submit(collection, product, "third", "fourth", payload=b"picture")
        return Victim(collection, product, done, waiting)

    def add_product(self, collection: CollectionRow, product_id: str) -> ProductRow:
        new = NewProduct(product_id, f"name of {product_id}", "其他")
        assert self.catalog.products.insert(collection, [new]) == {}
        self.catalog.collections.add_products(collection.key, collection.generation, 1)
        return self.catalog.products.find(collection.generation, [product_id])[product_id]

    def submit(
        self,
        collection: CollectionRow,
        product: ProductRow,
        *image_ids: str,
        payload: bytes | None,
    ) -> Submission:
        url = None if payload else "http://pictures.example/a.jpg"
        images = [NewImage(product.product_id, i, "info", url, payload) for i in image_ids]
        taken = take_images(
            self.catalog,
            collection,
            dict(enumerate(images)),
            {product.product_id: product},
            images_per_product=0,
            chunk_images=1,
        )
        assert taken.refused == {}
        return taken

    def finish(self, submission: Submission) -> None:
        """Do what the stages do, up to the end of the task."""
        for chunk in submission.chunks:
            held = self.catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
            assert held is not None
            keys = {
                content_key(i.product_serial, f"hash {i.image_id}"): i.label for i in held.items
            }
            self.catalog.contents.take(keys)
            self.catalog.pictures.put(dict.fromkeys(held.labels, b"jpeg"))
            self.catalog.vectors.put(
                MODEL.model_id, {n: np.full(4, n, np.float32) for n in held.labels}
            )
            held = self.catalog.chunks.advance(held, Stage.INDEX, held.items)
            assert held is not None
            held = self.catalog.chunks.claim(held.id, Stage.INDEX, held.attempt)
            assert held is not None
            self.catalog.images.succeed(held.labels)
            self.catalog.payloads.remove(held.labels)
            assert self.catalog.chunks.finish(held, [SUCCEEDED] * len(held.items))
        assert submission.task is not None
        self.catalog.tasks.finish(submission.task.task_id, len(submission.chunks), 0)

    def fail(self, submission: Submission) -> None:
        for chunk in submission.chunks:
            held = self.catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
            assert held is not None
            fail_images(self.catalog, dict.fromkeys(held.labels, BrokenBase64OrUrl))
            message = BrokenBase64OrUrl.message
            assert self.catalog.chunks.finish(held, [message] * len(held.items))
        assert submission.task is not None
        self.catalog.tasks.finish(submission.task.task_id, 0, len(submission.chunks))

    def clear(self, labels: Sequence[int]) -> None:
        """Clear the blobs of dead images as the index does, some time after their end."""
        self.catalog.vectors.remove(labels)
        self.catalog.pictures.remove(labels)

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
        assert self.catalog.products.change(victim.product, values)
        self.catalog.images.set_product(victim.product.serial, values)

    def collection_is_deleted(self, victim: Victim) -> None:
        delete_collection(self.catalog, victim.collection)

    def collection_is_made_again(self, victim: Victim) -> None:
        delete_collection(self.catalog, victim.collection)
        name = victim.collection.name
        again = self.catalog.collections.find_or_create(victim.collection.user, name, 0)
        self.add_product(again, victim.product.product_id)

    def collection_is_added(self, victim: Victim) -> None:
        self.catalog.collections.find_or_create(victim.collection.user, uuid.uuid4().hex[:8], 0)

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
    """Look whether a restored catalogue is of one piece; give its living images by label."""
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
        assert table["image_names"][f"{image['generation']}/{image['image_id']}"]["label"] == label
        if image["outcome"] == SUCCEEDED:
            assert label in table["vectors"]
        else:
            assert label in on_their_way
            assert image["url"] or label in table["payloads"].keys() | table["vectors"].keys()
    assert table["images"].keys() - living.keys() <= on_their_way
    assert len(table["image_names"]) == len(living)
    assert {row["label"] for row in table["image_contents"].values()} <= living.keys()
    for blob in ("payloads", "vectors", "pictures"):
        assert table[blob].keys() <= living.keys()

    owned = Counter(image["product_serial"] for image in living.values())
    assert {n: row["image_count"] for n, row in serials.items()} == {n: owned[n] for n in serials}
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
        assert (chunk["state"], chunk["sent_at"]) == (State.WAITING, None)
        assert chunk["due_at"] <= stamp(now())
    assert all(chunk["task_id"] in table["tasks"] for chunk in table["chunks"].values())
    for task in table["tasks"].values():
        chunks = [table["chunks"][chunk_id] for chunk_id in task["chunk_ids"]]
        assert len({i[0] for chunk in chunks for i in chunk["items"]}) == task["image_count"]
        is_done = all(chunk["state"] == State.DONE for chunk in chunks)
        assert is_done or task["finished_at"] is None
