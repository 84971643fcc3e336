"""The parts that the API's handlers share, made once per process.

`app.server` makes them in each process of gunicorn, after the fork: neither a MongoClient nor a
connection to Redis survives one. Several threads use them at once.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import redis
import structlog
from pymongo.errors import ConnectionFailure, PyMongoError

from app.auth.backlog import Backlog
from app.auth.gate import Gate
from app.auth.quotas import Quotas
from broker.redis_connection import connect_redis
from broker.reports.heartbeats import Consumption
from broker.reports.index_reports import IndexReports
from broker.reports.process_reports import ProcessReports
from broker.reports.room_notice import RoomNotice
from broker.search_exchange import Exchange
from broker.staged_bytes import staged_bytes_of
from catalog.database.connection import connect
from catalog.rows.collections import CollectionRow
from catalog.store import Catalog, catalog_of
from config.refusal import refuse
from config.server_faults import mongo_fault
from config.settings import Settings
from contract.errors import NoRelativeCollection
from download.policy import FetchPolicy, fetch_policy_of
from identity.custody import Custody, WrongSecretKeyError
from identity.nonces import Nonces
from identity.vault import Vault
from vision.picture import PictureLimits, picture_limits_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Services:
    """The parts that handlers share."""

    settings: Settings
    catalog: Catalog
    gate: Gate
    quotas: Quotas
    redis: redis.Redis
    exchange: Exchange
    consumption: Consumption
    backlog: Backlog
    process_reports: ProcessReports
    index_reports: IndexReports
    room_notice: RoomNotice
    searches: threading.BoundedSemaphore  #: half the threads at most, the rest serve other calls
    picture_limits: PictureLimits
    fetch_policy: FetchPolicy  #: by which a URL is judged without asking DNS

    def collection(self, user: str, name: str) -> CollectionRow:
        """Return a user's collection. Raises NoRelativeCollection if there is none."""
        found = self.catalog.collections.find(user, name)
        if found is None:
            raise NoRelativeCollection
        return found

    def waits_for_room(self) -> float | None:
        """Return for how many seconds fetching has waited for room, or None if it does not.

        Raises RedisError, and PyMongoError if this process has not read the catalogue's identity
        yet and can't now.
        """
        seconds = self.room_notice.seconds()
        if seconds is None:
            return None
        staged = staged_bytes_of(self.settings, self.redis, self.catalog)
        # The notice outlives the wait for some seconds.
        return None if staged.has_room() else seconds


def await_secret_key(settings: Settings) -> None:
    """End the process if its secret key is not that of the catalogue.

    Waits while MongoDB can't be reached. Uses a client of its own and closes it: the parent of the
    API's processes calls this, and a client does not survive a fork.
    """
    vault = Vault(settings.secret_key.get_secret_value(), settings.data_dir)
    url = settings.mongo_url.get_secret_value()
    while True:
        try:
            with connect(url, settings.mongo_timeout_seconds) as client:
                catalog = catalog_of(settings, client)
                Custody(catalog.accounts, catalog.seal, vault).check()
            return
        except WrongSecretKeyError as error:
            refuse(f"database {settings.mongo_database}: {error}")
        except ConnectionFailure as error:
            log.warning("waiting for MongoDB", fault=mongo_fault(error))
            time.sleep(1.0)
        except PyMongoError as error:
            raise SystemExit(f"snapsku: MongoDB {mongo_fault(error)}") from error


def make_services(settings: Settings) -> Services:
    """Make the services. Asks no server yet: connections open at their first use."""
    client = connect(settings.mongo_url.get_secret_value(), settings.mongo_timeout_seconds)
    redis_url = settings.redis_url.get_secret_value()
    connection = connect_redis(
        redis_url, settings.redis_timeout_seconds, settings.redis_timeout_seconds
    )
    waiting = connect_redis(
        redis_url,
        settings.redis_timeout_seconds,
        settings.search_seconds + settings.redis_timeout_seconds,
    )
    catalog = catalog_of(settings, client)
    process_reports = ProcessReports(connection)
    return Services(
        settings=settings,
        catalog=catalog,
        gate=Gate(
            catalog.accounts,
            Nonces(connection),
            Vault(settings.secret_key.get_secret_value(), settings.data_dir),
        ),
        quotas=Quotas(connection),
        redis=connection,
        exchange=Exchange(waiting),
        consumption=Consumption(connection, settings.stalled_seconds),
        backlog=Backlog(catalog, settings, process_reports),
        process_reports=process_reports,
        index_reports=IndexReports(connection, settings.stalled_seconds),
        room_notice=RoomNotice(connection),
        searches=threading.BoundedSemaphore(settings.api_threads // 2),
        picture_limits=picture_limits_of(settings),
        fetch_policy=fetch_policy_of(settings),
    )
