"""The API without servers: a Redis in memory, and a catalogue that a test names."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from flask.testing import FlaskClient
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from app.auth.backlog import Backlog
from app.auth.gate import Gate
from app.auth.quotas import Quotas
from app.server import create_app
from app.services import Services
from broker.reports.heartbeats import Consumption
from broker.reports.index_reports import IndexReports
from broker.reports.process_reports import ProcessReports
from broker.reports.room_notice import RoomNotice
from broker.search_exchange import Exchange
from config.settings import Settings
from download.policy import fetch_policy_of
from identity.nonces import Nonces
from identity.vault import Vault
from tests.unit.app.caller_standins import NOW, Rows
from tests.unit.app.standins import FailingCatalog
from tests.unit.isolation import isolated_environment
from vision.picture import picture_limits_of

#: The accounts of a service that never made a key.
WITHOUT_KEYS: Any = SimpleNamespace(has_keys=lambda: False)

MakeServices = Callable[..., Services]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """No SNAPSKU_ variable, and an empty working folder."""
    with isolated_environment(tmp_path) as patch:
        yield patch


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[list[Any]]:
    """What was logged, with the ids that were bound; rendering it would only cost time."""
    with capture_logs(processors=[merge_contextvars]) as lines:
        yield lines


@pytest.fixture
def redis_server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def redis_client(redis_server: fakeredis.FakeServer) -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis(server=redis_server) as client:
        yield client


@pytest.fixture
def make_services(redis_client: fakeredis.FakeRedis) -> MakeServices:
    """Return a function that makes the services; every use of the catalogue fails unless given."""

    def make(
        catalog: Any = None, exchange: Any = None, gate: Gate | None = None, **chosen: Any
    ) -> Services:
        values = Settings(**chosen)
        # A test that is not about keys has none, whatever becomes of the catalogue.
        gate = gate or Gate(WITHOUT_KEYS, Nonces(redis_client), Vault("", Path("nowhere")))
        catalog = catalog or FailingCatalog(AssertionError("the catalogue was asked"))
        return Services(
            settings=values,
            catalog=catalog,
            gate=gate,
            quotas=Quotas(redis_client),
            redis=redis_client,
            exchange=exchange or Exchange(redis_client),
            consumption=Consumption(redis_client, values.stalled_seconds),
            backlog=Backlog(catalog, values, ProcessReports(redis_client)),
            process_reports=ProcessReports(redis_client),
            index_reports=IndexReports(redis_client, values.stalled_seconds),
            room_notice=RoomNotice(redis_client),
            searches=threading.BoundedSemaphore(values.api_threads // 2),
            picture_limits=picture_limits_of(values),
            fetch_policy=fetch_policy_of(values),
        )

    return make


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault("x" * 32, tmp_path)


@pytest.fixture
def rows(vault: Vault) -> Rows:
    return Rows(vault)


@pytest.fixture
def gated(
    make_services: MakeServices, redis_client: fakeredis.FakeRedis, rows: Rows, vault: Vault
) -> FlaskClient:
    """The API behind a real gate, at the moment NOW."""
    gate = Gate(rows, Nonces(redis_client), vault, clock=lambda: NOW)  # type: ignore[arg-type]
    return create_app(make_services(gate=gate, body_bytes=10_000)).test_client()
