"""What is made from the settings, alike for the API and for the workers."""

from __future__ import annotations

from datetime import timedelta

import redis
from pymongo import MongoClient

from catalog.connection import Row
from catalog.store import Catalog, open_catalog
from catalog.times import Times
from config.settings import Settings
from config.version import VERSION
from download.address import AllowList
from download.policy import FetchPolicy
from vision.picture import PictureLimits
from workers.staging import StagedBytes


def times_of(chosen: Settings) -> Times:
    """Return the times of a catalogue."""
    return Times(
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


def catalog_of(chosen: Settings, client: MongoClient[Row]) -> Catalog:
    """Return the catalogue that settings name, with the times that they say."""
    return open_catalog(client, chosen.mongo_database, times_of(chosen))


def staged_bytes_of(chosen: Settings, client: redis.Redis, catalog: Catalog) -> StagedBytes:
    """Return the fetched pictures that wait in Redis for the vision stage.

    Raises PyMongoError where this process never read which catalogue it is.
    """
    return StagedBytes(client, chosen.staged_bytes, chosen.staged_seconds, catalog.identity.get())


def picture_limits_of(chosen: Settings) -> PictureLimits:
    """Return the limits of a picture."""
    return PictureLimits(
        max_bytes=chosen.image_bytes,
        min_side=chosen.image_min_side,
        max_side=chosen.image_max_side,
    )


def fetch_policy_of(chosen: Settings) -> FetchPolicy:
    """Return what a fetch of a product's picture may do."""
    return FetchPolicy(
        allow=AllowList.parse(chosen.fetch_allow),
        max_bytes=chosen.image_bytes,
        ports=frozenset(int(port) for port in chosen.fetch_ports),
        connect_seconds=chosen.fetch_connect_seconds,
        read_gap_seconds=chosen.fetch_gap_seconds,
        total_seconds=chosen.fetch_image_seconds,
        user_agent=f"snapsku/{VERSION} (+product image search)",
    )
