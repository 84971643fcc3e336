"""What lies in MongoDB and Redis, read past the code of the service.

Only the names of the queues come from the service: a copy would not wait for a queue that is added.
That the names are those which the workers consume is compared with the Procfile by a unit test.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import redis
import requests
from pymongo.errors import PyMongoError

from broker.queues import MAINTENANCE, QUEUES
from tests.chaos.servers import DATABASE, Plant, mongo_client

Row = dict[str, Any]
#: Fields of chunks that are running, waiting, done and not settled, or sent.
CHUNK_TIMES = (
    "lease_until",
    "start_at",
    "settle_at",
    "fetch_sent_at",
    "vision_sent_at",
    "index_sent_at",
)
#: What is due so much later is not what a round waits for, seconds.
SOON = 60.0
#: A step of background work that takes longer is not under way, but left by a worker that died.
BACKGROUND_SECONDS = 3.0


@dataclass(frozen=True)
class Rows:
    """Every table at one moment."""

    collections: list[Row]
    products: list[Row]
    images: list[Row]
    names: list[Row]
    contents: list[Row]
    tasks: list[Row]
    chunks: list[Row]
    purges: list[Row]
    submissions: list[Row]
    payloads: set[int]
    pictures: set[int]
    local_features: set[int]
    vectors: dict[int, bytes]

    @cached_property
    def generations(self) -> dict[str, Row]:
        """The collections that are there, by generation."""
        return {row["generation"]: row for row in self.collections}

    @cached_property
    def serials(self) -> dict[int, Row]:
        """The products that are there, by serial."""
        return {
            row["serial"]: row
            for row in self.products
            if row["deleted_at"] is None and row["generation"] in self.generations
        }

    @cached_property
    def living(self) -> dict[int, Row]:
        """The images that a search must find, by label."""
        return {
            row["_id"]: row
            for row in self.images
            if row["outcome"] == "SUCCEEDED"
            and row["deleted_at"] is None
            and row["product_serial"] in self.serials
        }


def read_rows(plant: Plant) -> Rows:
    """Read everything."""
    with mongo_client(plant.mongo_url) as client:
        rows, blobs = client[DATABASE], client[f"{DATABASE}_blobs"]
        tasks = list(rows["tasks"].find())
        return Rows(
            collections=list(rows["collections"].find()),
            products=list(rows["products"].find()),
            images=list(rows["images"].find()),
            names=list(rows["image_names"].find()),
            contents=list(rows["image_contents"].find()),
            tasks=[row for row in tasks if "submission" not in row],
            chunks=list(rows["chunks"].find()),
            purges=list(rows["purges"].find()),
            submissions=[row for row in tasks if "submission" in row],
            payloads={row["_id"] for row in blobs["payloads"].find({}, ["_id"])},
            pictures={row["_id"] for row in blobs["pictures"].find({}, ["_id"])},
            local_features={row["_id"] for row in blobs["local_features"].find({}, ["_id"])},
            vectors={row["_id"]: bytes(row["values"]) for row in blobs["vectors"].find()},
        )


def sizes(plant: Plant) -> dict[str, int]:
    """Return the rows of each table, the keys of Redis by their beginning, and its memory."""
    with mongo_client(plant.mongo_url) as client:
        found = {
            f"rows of {table}": len(list(client[database][table].find({}, ["_id"])))
            for database in (DATABASE, f"{DATABASE}_blobs")
            for table in sorted(client[database].list_collection_names())
        }
    with redis.Redis.from_url(plant.redis_url) as broker:
        keys = [key.decode() for key in broker.scan_iter(count=1000)]
        found["bytes of redis"] = broker.info("memory")["used_memory"]
    for key in keys:
        name = f"keys {key.split(':')[0].split('-')[0]}"
        found[name] = found.get(name, 0) + 1
    return found


def unrest(plant: Plant) -> list[str]:
    """Say what still goes on; empty when all is quiet."""
    try:
        with redis.Redis.from_url(plant.redis_url) as broker:
            messages = unrest_of_messages(broker)
        return [*_unrest_of_rows(plant), *messages, *_unrest_of_api(plant)]
    except (PyMongoError, redis.RedisError, requests.RequestException) as error:
        return [f"not reachable: {error!r}"]


def open_images(plant: Plant) -> int:
    """Return how many images have not ended, 0 where that can't be read."""
    try:
        with mongo_client(plant.mongo_url) as client:
            found = client[DATABASE]["images"].find({"outcome": None, "deleted_at": None}, ["_id"])
            return len(list(found))
    except PyMongoError:
        return 0


def _unrest_of_rows(plant: Plant) -> list[str]:
    soon = (time.time() + SOON) * 1000
    going = []
    with mongo_client(plant.mongo_url) as client:
        rows = client[DATABASE]
        for field in CHUNK_TIMES:
            for chunk in rows["chunks"].find({field: {"$gt": 0, "$lt": soon}}):
                going.append(f"chunk {chunk['_id']} is {chunk['state']} in {chunk['stage']}")
        going += [f"image {i['_id']} awaits the index" for i in _set(rows["images"], "index_at")]
        going += [f"product {i['_id']} is being deleted" for i in _set(rows["products"])]
        going += [f"collection {c['_id']} is recounted" for c in _recounted(rows)]
        going += [f"submission {s['_id']}" for s in _set(rows["tasks"], "submission_at")]
        going += [f"task {task['_id']} is open" for task in _set(rows["tasks"], "open_since")]
        for purge in rows["purges"].find():
            if rows["images"].find_one({"generation": purge["_id"]}):
                going.append(f"generation {purge['_id']} is purged")
    return going


def _set(rows: Any, field: str = "deleted_at") -> list[Row]:
    return list(rows.find({field: {"$gt": 0}}))


def _recounted(rows: Any) -> list[Row]:
    return [row for row in rows["collections"].find() if row.get("recount_at") is not None]


def unrest_of_messages(broker: redis.Redis) -> list[str]:
    """Say which queues have messages that wait, or that were taken and are not acknowledged."""
    # Background work is sent every second, and so hardly ever over; what a dead worker took
    # of it, or one whose connection broke, comes back after the visibility timeout.
    going = [
        f"queue {queue} is not empty"
        for queue in QUEUES
        if queue != MAINTENANCE and broker.llen(queue)
    ]
    before = time.time() - BACKGROUND_SECONDS
    taken_before: list[bytes] = broker.zrangebyscore("unacked_index", 0, before)  # type: ignore[assignment]  # undecoded
    old = {tag.decode() for tag in taken_before}
    for tag, queue in unacknowledged(broker).items():
        if queue != MAINTENANCE or tag in old:
            going.append(f"messages of {queue} are not acknowledged")
    return going


def unacknowledged(broker: redis.Redis) -> dict[str, str]:
    """Return the queue of each message that was taken and is not acknowledged, by its tag."""
    rows: dict[bytes, bytes] = broker.hgetall("unacked")  # type: ignore[assignment]  # undecoded
    return {tag.decode(): json.loads(kept)[2] for tag, kept in rows.items()}


def _unrest_of_api(plant: Plant) -> list[str]:
    response = requests.get(f"{plant.stack.base_url}/readyz", timeout=5)
    return [] if response.status_code == 200 else [f"not ready: {response.text.strip()}"]
