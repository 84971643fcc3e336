"""What stands in the environment of the worker leads no download astray."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from download.client import fetch
from tests.integration.download.hostile_world import FORBIDDEN, PUBLIC, Hostile, World


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_proxy_and_no_netrc_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificate: Path, scheme: str
) -> None:
    requests: list[bytes] = []

    def talk(world: World, connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")

    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("NO_PROXY", "")
    row = Hostile(f"{scheme}://public.test:PORT/", talk, meets="tls" if scheme[4:] else "plain")
    with World(row, certificate) as world:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            for spelling in (name, name.lower()):
                monkeypatch.setenv(spelling, f"http://{FORBIDDEN}:{world.port}")
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "nothing"))
        until = time.monotonic() + 60
        assert fetch(world.fill(row.url), world.policy(), until, world.resolver) == b"x"
    assert world.reached == []
    assert requests[0].startswith(b"GET / HTTP/1.1\r\n")
    assert b"authorization" not in requests[0].lower()
    assert PUBLIC.encode() not in requests[0]
