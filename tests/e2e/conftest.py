"""One stack for all end-to-end tests, fed from the sample pictures over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.client import Api, collection_name
from tests.e2e.stack import Stack, running
from tests.servers import Servers
from tools.demo.fileserver import serve
from tools.demo.manifest import SAMPLES

#: Times that a test can wait for. Two stacks run at once: each computes in one thread, and none
#: gives way to the other's tests, as a vision worker does to whatever else the machine does.
SHORT_TIMES = {
    "collections_per_user": "0",
    "fetch_allow": "127.0.0.1",
    "lease_seconds": "6",
    "lease_renewal_seconds": "2",
    "sweep_seconds": "2",
    "fetch_retry_seconds": "0.5",
    "fetch_gap_seconds": "2",
    "fetch_passes": "3",
    "fetch_down_seconds": "6",
    "torch_threads": "1",
    "vision_niceness": "0",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put modules with stacks of their own first, and measurements last.

    So the shared stack does not idle beside another one; and the work that measurements leave
    behind holds up no test.
    """
    shared = {item.path for item in items if "stack" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item.path.name == "test_response_times.py", item.path in shared))


@pytest.fixture(scope="session")
def file_server() -> Iterator[str]:
    """The sample pictures over HTTP on loopback."""
    with serve(SAMPLES / "products") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def short_times() -> dict[str, str]:
    """The settings of a stack that recovers in seconds, beside another one."""
    return dict(SHORT_TIMES)


@pytest.fixture(scope="session")
def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(
        servers.data_dir / "stack",
        tmp_path_factory.mktemp("logs"),
        mongo_url=servers.mongo_url,
        redis_url=servers.redis_url,
        mongo_database="snapsku_e2e",
        **SHORT_TIMES,
    )
    with running(stack):
        yield stack


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    client = Api(stack.base_url)
    yield client
    client.close()


@pytest.fixture
def collection() -> str:
    """The name of a collection that no other test uses."""
    return collection_name()


@pytest.fixture(scope="module")
def shared_collection() -> str:
    """The name of a collection that the tests of one module share."""
    return collection_name()
