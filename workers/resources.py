"""What the tasks of one worker process work with: the catalogue, Redis, the fetch policy.

Each is made at its first use, so never in the parent of a prefork pool: neither a
MongoClient nor a torch model survives a fork.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache

import redis
from pymongo import MongoClient

from catalog.connection import Row, connect
from catalog.store import Catalog, open_catalog
from catalog.times import Times
from config.settings import Settings, settings
from config.version import VERSION
from download.address import AllowList
from download.policy import FetchPolicy
from vision.picture import PictureLimits
from workers.staging import (
    Consumption,
    Exchange,
    IndexReports,
    RoomNotice,
    StagedBytes,
    connect_redis,
)


@cache
def catalog() -> Catalog:
    """Give the catalogue."""
    chosen = settings()
    return catalog_of(
        chosen, connect(chosen.mongo_url.get_secret_value(), chosen.mongo_timeout_seconds)
    )


def catalog_of(chosen: Settings, client: MongoClient[Row]) -> Catalog:
    """Give the catalogue that settings name, with the times that they say."""
    times = Times(
        lease=timedelta(seconds=chosen.lease_seconds),
        submission=timedelta(seconds=chosen.submission_seconds),
        recount=timedelta(seconds=chosen.recount_seconds),
        task=timedelta(seconds=chosen.task_seconds),
        deleted=timedelta(seconds=chosen.deleted_seconds),
        key=timedelta(seconds=chosen.key_seconds),
        retry=timedelta(
            seconds=max(60.0, chosen.fetch_retry_seconds * 2 ** (chosen.fetch_passes - 1))
        ),
    )
    return open_catalog(client, chosen.mongo_database, times)


@cache
def redis_client() -> redis.Redis:
    """Give the connection to Redis."""
    chosen = settings()
    return connect_redis(
        chosen.redis_url.get_secret_value(),
        chosen.redis_timeout_seconds,
        chosen.search_seconds + chosen.redis_timeout_seconds,
    )


@cache
def staged_bytes() -> StagedBytes:
    """Give the fetched pictures that wait for the vision stage."""
    chosen = settings()
    return StagedBytes(
        redis_client(), chosen.staged_bytes, chosen.staged_seconds, catalog().identity.get()
    )


@cache
def room_notice() -> RoomNotice:
    """Return the notice that fetching waits for room."""
    return RoomNotice(redis_client())


@cache
def exchange() -> Exchange:
    """Give the place of queries and replies."""
    return Exchange(redis_client())


@cache
def consumption() -> Consumption:
    """Give the record of which queues are consumed."""
    return Consumption(redis_client(), settings().stalled_seconds)


@cache
def index_reports() -> IndexReports:
    """Give the place where the index process says how it is."""
    return IndexReports(redis_client(), settings().stalled_seconds)


@cache
def picture_limits() -> PictureLimits:
    """Give the limits of a picture."""
    chosen = settings()
    return PictureLimits(chosen.image_bytes, chosen.image_min_side, chosen.image_max_side)


@cache
def fetch_policy() -> FetchPolicy:
    """Give what a fetch of a product's picture may do."""
    chosen = settings()
    return FetchPolicy(
        allow=AllowList.parse(chosen.fetch_allow),
        max_bytes=chosen.image_bytes,
        ports=frozenset(int(port) for port in chosen.fetch_ports),
        connect_seconds=chosen.fetch_connect_seconds,
        read_gap_seconds=chosen.fetch_gap_seconds,
        total_seconds=chosen.fetch_image_seconds,
        user_agent=f"snapsku/{VERSION} (+product image search)",
    )


def query_fetch_policy() -> FetchPolicy:
    """Give what a fetch of a query's picture may do: the same, in less time."""
    return replace(fetch_policy(), total_seconds=settings().query_fetch_seconds)
