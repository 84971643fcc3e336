"""One stack for all end-to-end tests, fed from the sample pictures over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import requests
from stack import Stack

from demo.fileserver import serve
from demo.manifest import SAMPLES


class ServersLike(Protocol):
    mongo_url: str
    redis_url: str
    data_dir: Path


@pytest.fixture(scope="session")
def file_server() -> Iterator[str]:
    """The sample pictures over HTTP on loopback."""
    with serve(SAMPLES / "products") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def stack(servers: ServersLike, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(
        servers.data_dir / "stack",
        tmp_path_factory.mktemp("logs"),
        mongo_url=servers.mongo_url,
        redis_url=servers.redis_url,
        mongo_database="snapsku_e2e",
        collections_per_user="0",
        fetch_allow="127.0.0.1",
        lease_seconds="6",
        lease_renewal_seconds="2",
        sweep_seconds="2",
        fetch_retry_seconds="2",
    )
    running.start()
    try:
        running.await_ready()
        yield running
    finally:
        running.stop()


class Api:
    """Calls of the contract as a client makes them."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._session = requests.Session()

    def close(self) -> None:
        self._session.close()

    def post(self, path: str, body: Any) -> requests.Response:
        return self._session.post(f"{self.base_url}{path}", json=body, timeout=60)

    def call(self, operation: str, **body: Any) -> dict[str, Any]:
        """Give the result of a call that the service handled."""
        response = self.post(f"/v1/{operation}", body)
        answer = response.json()
        assert answer["code"] == "10000", answer
        assert response.status_code == 200, answer
        result: dict[str, Any] = answer["result"]
        return result


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    client = Api(stack.base_url)
    yield client
    client.close()


@pytest.fixture
def collection() -> str:
    """The name of a collection that no other test uses."""
    return f"商品库-{uuid.uuid4().hex[:8]}"
