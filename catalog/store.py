"""The catalogue as one object that holds a repository for each table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from pymongo import MongoClient

from catalog.coordination.catalogue_id import CatalogueId
from catalog.coordination.index_ownership import OwnerLease
from catalog.coordination.numbers import Numbers
from catalog.coordination.queue_progress import Queues
from catalog.coordination.seal import Seal
from catalog.coordination.turns import Turns
from catalog.database.connection import Row, databases
from catalog.database.durations import Durations
from catalog.rows.accounts import Accounts
from catalog.rows.blobs import Blobs, Vectors
from catalog.rows.changes import Changes
from catalog.rows.chunks import Chunks
from catalog.rows.claims import Claims
from catalog.rows.collections import Collections
from catalog.rows.counters import Counters
from catalog.rows.idempotency_keys import IdempotencyKeys
from catalog.rows.images import Images
from catalog.rows.losses import Losses
from catalog.rows.models import Models
from catalog.rows.products import Products
from catalog.rows.purges import Purges
from catalog.rows.row_clock import RowClock
from catalog.rows.tasks import Tasks
from config.settings import Settings


@dataclass(frozen=True)
class Catalog:
    """Every repository of a catalogue, on one client."""

    client: MongoClient[Row]
    identity: CatalogueId
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
    keys: IdempotencyKeys
    queues: Queues
    models: Models
    changes: Changes
    losses: Losses
    purges: Purges
    clock: RowClock
    turns: Turns
    ownership: OwnerLease
    payloads: Blobs  #: of images sent as Base64, until they have ended
    pictures: Blobs  #: the kept ones
    local_features: Blobs  #: as `vision.geometry.stored` writes them
    vectors: Vectors

    def ping(self) -> None:
        """Read a row, to check that the database answers; raises PyMongoError if it doesn't."""
        self.models.current()


def open_catalog(client: MongoClient[Row], name: str, times: Durations) -> Catalog:
    """Return the catalogue in the databases `name` and `name`_blobs.

    Makes no round trip, so the server need not be there yet.
    """
    rows, blobs = databases(client, name)
    numbers = Numbers(rows["numbers"])
    purges = Purges(rows["purges"])
    return Catalog(
        client=client,
        identity=CatalogueId(rows["schema"]),
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
        keys=IdempotencyKeys(rows["keys"], times),
        queues=Queues(rows["queues"], settling=times.lease),
        models=Models(rows["models"], rows["collections"]),
        changes=Changes(rows["collections"]),
        losses=Losses(rows["losses"]),
        purges=purges,
        clock=RowClock(rows, times),
        turns=Turns(rows["turns"]),
        ownership=OwnerLease(rows["owners"], times.lease),
        payloads=Blobs(blobs["payloads"]),
        pictures=Blobs(blobs["pictures"]),
        local_features=Blobs(blobs["local_features"]),
        vectors=Vectors(blobs["vectors"]),
    )


def durations_of(chosen: Settings) -> Durations:
    """Return the durations of a catalogue that settings give."""
    return Durations(
        lease=timedelta(seconds=chosen.lease_seconds),
        submission=timedelta(seconds=chosen.submission_seconds),
        recount=timedelta(seconds=chosen.recount_seconds),
        task=timedelta(seconds=chosen.task_seconds),
        deleted=timedelta(seconds=chosen.deleted_seconds),
        key=timedelta(seconds=chosen.key_seconds),
    )


def catalog_of(chosen: Settings, client: MongoClient[Row]) -> Catalog:
    """Return the catalogue that settings name, with their durations. Makes no round trip."""
    return open_catalog(client, chosen.mongo_database, durations_of(chosen))
