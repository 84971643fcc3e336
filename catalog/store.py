"""The catalogue as one object: its repositories."""

from __future__ import annotations

from dataclasses import dataclass

from pymongo import MongoClient

from catalog.accounts import Accounts
from catalog.blobs import Blobs, Vectors
from catalog.changes import Changes
from catalog.chunks import Chunks
from catalog.claims import Claims
from catalog.clock import Clock
from catalog.collections import Collections
from catalog.connection import Row, databases
from catalog.counters import Counters
from catalog.identity import Identity
from catalog.images import Images
from catalog.keys import Keys
from catalog.losses import Losses
from catalog.models import Models
from catalog.numbers import Numbers
from catalog.ownership import Ownership
from catalog.products import Products
from catalog.purges import Purges
from catalog.queues import Queues
from catalog.seal import Seal
from catalog.tasks import Tasks
from catalog.times import Times
from catalog.turns import Turns


@dataclass(frozen=True)
class Catalog:
    """Every repository, on one client."""

    client: MongoClient[Row]
    identity: Identity
    accounts: Accounts
    seal: Seal
    numbers: Numbers
    collections: Collections
    counters: Counters
    products: Products
    images: Images
    names: Claims
    contents: Claims
    tasks: Tasks
    chunks: Chunks
    keys: Keys
    queues: Queues
    models: Models
    changes: Changes
    losses: Losses
    purges: Purges
    clock: Clock
    turns: Turns
    ownership: Ownership
    payloads: Blobs
    pictures: Blobs
    vectors: Vectors

    def ping(self) -> None:
        """Read a row, as a sign of life; raises PyMongoError where there is none."""
        self.models.current()


def open_catalog(client: MongoClient[Row], name: str, times: Times) -> Catalog:
    """Give the catalogue in the databases `name` and `name`_blobs.

    Makes no round trip: the server may come later.
    """
    rows, blobs = databases(client, name)
    numbers = Numbers(rows["numbers"])
    purges = Purges(rows["purges"])
    return Catalog(
        client=client,
        identity=Identity(rows["schema"]),
        accounts=Accounts(rows["accounts"], rows["access_keys"]),
        seal=Seal(rows["schema"]),
        numbers=numbers,
        collections=Collections(
            rows["collections"], rows["users"], rows["models"], purges, recount=times.recount
        ),
        counters=Counters(rows["collections"], times.recount),
        products=Products(rows["products"], numbers, times.lease),
        images=Images(rows["images"], times),
        names=Claims(rows["image_names"]),
        contents=Claims(rows["image_contents"]),
        tasks=Tasks(rows["tasks"], times),
        chunks=Chunks(rows["chunks"], times.lease),
        keys=Keys(rows["keys"], times),
        queues=Queues(rows["queues"], settling=times.lease),
        models=Models(rows["models"], rows["collections"]),
        changes=Changes(rows["collections"]),
        losses=Losses(rows["losses"]),
        purges=purges,
        clock=Clock(rows, times),
        turns=Turns(rows["turns"]),
        ownership=Ownership(rows["owners"], times.lease),
        payloads=Blobs(blobs["payloads"]),
        pictures=Blobs(blobs["pictures"]),
        vectors=Vectors(blobs["vectors"]),
    )
