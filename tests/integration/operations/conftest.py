"""A client of the database, and the API as gunicorn serves it, on a port of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from pymongo import MongoClient

from catalog.database.connection import Row, connect
from tests.integration.operations.busy_catalog import Busy
from tests.integration.operations.programs import serving
from tests.integration.operations.raw_client import Served
from tests.servers import Servers


@pytest.fixture(scope="module")
def client(servers: Servers) -> Iterator[MongoClient[Row]]:
    with connect(servers.mongo_url, 5) as found:
        yield found


@pytest.fixture
def busy(client: MongoClient[Row]) -> Busy:
    return Busy(client, f"busy_{uuid.uuid4().hex[:8]}")


@pytest.fixture
def target() -> str:
    """The name of a database that was never used."""
    return f"restored_{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def served(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(servers, tmp_path_factory.mktemp("api")) as (found, _):
        yield found
