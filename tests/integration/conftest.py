"""The parts of one process against real servers, with times short enough for a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
import redis

from broker import redis_connection
from broker.celery_app import app
from broker.celery_settings import celery_settings
from catalog.database.database_time import DATABASE_TIME
from catalog.schema.indexes import create_indexes
from catalog.store import Catalog
from config.settings import settings
from tests.servers import Servers
from workers.support import resources

DATABASE = "snapsku_integration"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the workers first: one of them takes as long as many modules."""
    items.sort(key=lambda item: "workers" not in item.path.parts)


@pytest.fixture(scope="session")
def process_settings(servers: Servers) -> Iterator[None]:
    """Settings as a worker process has them; everything else here builds on it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "DATA_DIR": str(servers.data_dir / "process"),
            "MONGO_URL": servers.mongo_url,
            # The workers of the end-to-end tests listen on database 0 of the same server.
            "REDIS_URL": urlsplit(servers.redis_url)._replace(path="/1").geturl(),
            "MONGO_DATABASE": DATABASE,
            "LEASE_SECONDS": "1.0",
            "CLOCK_SETTLING_SECONDS": "0",
            "LEASE_RENEWAL_SECONDS": "0.2",
            "FETCH_RETRY_SECONDS": "0.2",
            "FETCH_PASS_SECONDS": "3",
            "SEARCH_SECONDS": "3",
            "FETCH_ALLOW": "127.0.0.1",
            "GEOMETRY": "true",
        }.items():
            patch.setenv(f"SNAPSKU_{name}", value)
        settings.cache_clear()
        # pytest looks into every task that a test module imports, and so has Celery read its
        # configuration before these settings are there.
        app.conf.update(celery_settings(settings()))
        yield
        resources.catalog().client.close()
        redis_connection.redis_client().close()
    settings.cache_clear()


@pytest.fixture(scope="session")
def indexed(process_settings: None) -> None:
    """The indexes of the catalogue, made once: no test of it drops one."""
    create_indexes(resources.catalog().client, DATABASE)


@pytest.fixture
def catalog(indexed: None) -> Catalog:
    """The catalogue of the process, empty."""
    found = resources.catalog()
    for name in (DATABASE, f"{DATABASE}_blobs"):
        for collection in found.client[name].list_collection_names():
            found.client[name][collection].delete_many({})
    found.identity.renew()
    return found


@pytest.fixture
def redis_client(process_settings: None) -> redis.Redis:
    """The Redis of the process, empty."""
    client = redis_connection.redis_client()
    client.flushdb()
    return client


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the clock of rows so many seconds away from the true one."""
    real = DATABASE_TIME.microseconds

    def set_by(seconds: float) -> None:
        monkeypatch.setattr(DATABASE_TIME, "microseconds", lambda: real() + int(seconds * 1e6))

    return set_by
