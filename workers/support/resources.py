"""What the tasks of one worker process share: the catalogue, Redis, the fetch policy.

Each is made at its first use, so never in the parent of a prefork pool: neither a MongoClient nor a
torch model survives a fork.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from broker.host_states import HostStates
from broker.redis_connection import redis_client
from broker.reports.heartbeats import Consumption
from broker.reports.index_reports import IndexReports
from broker.reports.room_notice import RoomNotice
from broker.search_exchange import Exchange
from broker.staged_bytes import StagedBytes, staged_bytes_of
from catalog.database.connection import connect
from catalog.store import Catalog, catalog_of
from config.settings import settings
from download.policy import FetchPolicy, fetch_policy_of
from vision.picture import PictureLimits, picture_limits_of
from workers.support.host_gate import HostGate


@cache
def catalog() -> Catalog:
    """Return the catalogue."""
    chosen = settings()
    return catalog_of(
        chosen, connect(chosen.mongo_url.get_secret_value(), chosen.mongo_timeout_seconds)
    )


@cache
def staged_bytes() -> StagedBytes:
    """Return the fetched files that wait for the vision stage."""
    return staged_bytes_of(settings(), redis_client(), catalog())


@cache
def room_notice() -> RoomNotice:
    """Return the notice that fetching waits for room."""
    return RoomNotice(redis_client())


@cache
def host_gate() -> HostGate:
    """Return the states of the hosts from which pictures are fetched."""
    chosen = settings()
    states = HostStates(
        redis_client(),
        # As many as one chunk has under way at a host, so that one bad moment is enough.
        faults=chosen.fetch_per_host,
        pause_seconds=chosen.fetch_retry_seconds,
        try_seconds=chosen.fetch_image_seconds,
    )
    return HostGate(states)


@cache
def exchange() -> Exchange:
    """Return the exchange of queries and replies."""
    return Exchange(redis_client())


@cache
def consumption() -> Consumption:
    """Return the heartbeats of the queues."""
    return Consumption(redis_client(), settings().stalled_seconds)


@cache
def index_reports() -> IndexReports:
    """Return the reports of the index processes."""
    return IndexReports(redis_client(), settings().stalled_seconds)


@cache
def picture_limits() -> PictureLimits:
    """Return the limits of a picture."""
    return picture_limits_of(settings())


@cache
def fetch_policy() -> FetchPolicy:
    """Return the limits of a download of a product's picture."""
    return fetch_policy_of(settings())


def query_fetch_policy() -> FetchPolicy:
    """Return the limits of a download of a query's picture: the same, but in less time."""
    return replace(fetch_policy(), total_seconds=settings().query_fetch_seconds)
