"""A running stub of the service, for the tests of the demo's client and flow."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "demo_stub_stack", Path(__file__).parent / "stub_stack.py"
)
assert SPEC is not None
assert SPEC.loader is not None
stub_stack = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(stub_stack)


@pytest.fixture
def service():
    """Give a stub service and the base URL where it answers."""
    stub = stub_stack.StubService()
    with stub_stack.server(stub, 0) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield stub, f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join()
