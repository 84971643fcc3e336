"""A client of the database, and the API as gunicorn serves it, on a port of its own."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator

import pytest
import requests
from pymongo import MongoClient

from catalog.database.connection import Row, connect
from cli.processes import ROOT
from config.embedded import free_port
from tests.integration.operations.busy_catalog import Busy
from tests.integration.operations.programs import command, environment
from tests.integration.operations.raw_client import CLIENT_SECONDS, Served
from tests.servers import Servers

START_SECONDS = 100.0


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
    folder = tmp_path_factory.mktemp("api")
    port = free_port()
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(
            command("api"),
            cwd=ROOT,
            env=environment(
                folder,
                redis_url=servers.redis_url,
                mongo_url=servers.mongo_url,
                mongo_database="snapsku_surface",
                port=str(port),
                log_format="json",
                client_seconds=str(CLIENT_SECONDS),
                clients_bytes=str(32 * 2**20),
                clients_per_process="200",
                search_seconds="0.2",
            ),
            stdout=log,
            stderr=log,
        )
    found = Served(port, folder / "api.log")
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert process.poll() is None, found.log.read_text("utf-8")
            try:
                requests.get(f"{found.url}/healthz", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        assert process.wait(45) == 0
