"""A running stub of the service, for the tests of the demo's client and flow."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.integration.demo import stub_stack
from tests.integration.demo.stub_stack import Service


@pytest.fixture
def service() -> Iterator[Service]:
    """Return a stub service and the base URL where it answers."""
    stub = stub_stack.StubService()
    with stub_stack.server(stub, 0) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield stub, f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join()
