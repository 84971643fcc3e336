"""Servers that a test starts, and the time it has taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.unit.download.loopback import Server, Talk


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server: `serve(talk)` or `serve(head_and_body)`."""
    servers: list[Server] = []

    def start(talk: Talk | bytes, address: str = "127.0.0.1", **options: bool) -> Server:
        if isinstance(talk, bytes):
            answer = talk
            talk = lambda server, connection, request: connection.sendall(answer)  # noqa: ARG005, E731
        server = Server(talk, address, **options)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def stopwatch() -> Callable[[], float]:
    """Return a function that says how many seconds have passed since the test began."""
    begin = time.monotonic()
    return lambda: time.monotonic() - begin
