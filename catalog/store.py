"""The catalogue as one object: its repositories, and the indexes that their queries need."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from pymongo import MongoClient

from catalog.blobs import Blobs, Vectors
from catalog.chunks import Chunks
from catalog.claims import Claims
from catalog.collections import Collections
from catalog.connection import Row, databases
from catalog.images import Images
from catalog.models import Models
from catalog.numbers import Numbers
from catalog.products import Products
from catalog.queues import Queues
from catalog.tasks import Tasks


@dataclass(frozen=True)
class Catalog:
    """Every repository, on one client."""

    client: MongoClient[Row]
    numbers: Numbers
    collections: Collections
    products: Products
    images: Images
    names: Claims
    contents: Claims
    tasks: Tasks
    chunks: Chunks
    queues: Queues
    models: Models
    payloads: Blobs
    pictures: Blobs
    vectors: Vectors

    def ping(self) -> None:
        """Read a row, as a sign of life; raises PyMongoError where there is none."""
        self.models.current()


def open_catalog(client: MongoClient[Row], name: str, lease_seconds: float) -> Catalog:
    """Give the catalogue in the databases `name` and `name`_blobs.

    `lease_seconds` is how long a running stage may be silent. Makes no round trip:
    the server may come later.
    """
    rows, blobs = databases(client, name)
    numbers = Numbers(rows["numbers"])
    lease = timedelta(seconds=lease_seconds)
    return Catalog(
        client=client,
        numbers=numbers,
        collections=Collections(rows["collections"], rows["users"], numbers),
        products=Products(rows["products"], numbers),
        images=Images(rows["images"]),
        names=Claims(rows["image_names"]),
        contents=Claims(rows["image_contents"]),
        tasks=Tasks(rows["tasks"]),
        chunks=Chunks(rows["chunks"], lease),
        queues=Queues(rows["queues"], settling=lease),
        models=Models(rows["models"]),
        payloads=Blobs(blobs["payloads"]),
        pictures=Blobs(blobs["pictures"]),
        vectors=Vectors(blobs["vectors"]),
    )


def create_indexes(client: MongoClient[Row], name: str) -> None:
    """Create the indexes that are missing. Queries go by `_id` or by exactly one of these."""
    rows, _ = databases(client, name)
    rows["products"].create_index("deleted_at")
    rows["images"].create_index("product_serial")
    rows["images"].create_index("purge_at")
    rows["image_names"].create_index("label")
    rows["image_contents"].create_index("label")
    rows["chunks"].create_index("due_at")
