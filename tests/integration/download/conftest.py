"""A certificate of the public server, servers that a test starts, and the time it has taken."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.download.loopback import Server, Talk


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate for public.test, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    file, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-nodes", "-days", "2"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-subj", "/CN=public.test", "-addext", "subjectAltName=DNS:public.test"),
            *("-out", file, "-keyout", key),
        ],
        check=True,
        capture_output=True,
    )
    file.write_bytes(file.read_bytes() + key.read_bytes())
    return file


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
