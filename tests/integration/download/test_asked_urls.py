"""The URL that was given is the URL that is asked for, against real sockets."""

from __future__ import annotations

import pytest

from contract.errors import BrokenBase64OrUrl
from download.client import fetch
from tests.integration.download.asked_urls import HOSTS, PATHS, REFUSED
from tests.integration.download.loopback import (
    Serve,
    answer,
    examples,
    for_server,
    soon,
)


@pytest.mark.parametrize(
    "given_and_asked",
    examples(PATHS),
)
def test_what_was_given_is_asked_for(serve: Serve, given_and_asked: tuple[str, str]) -> None:
    given, asked = given_and_asked
    server = serve(answer(b"picture"))
    url = given.replace("HOST", f"127.0.0.1:{server.port}")
    assert fetch(url, for_server(server), soon()) == b"picture"
    lines = server.requests[0].decode("ascii").split("\r\n")
    assert lines[:2] == [f"GET {asked} HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]


@pytest.mark.parametrize(
    "given_and_asked",
    examples(HOSTS),
)
def test_a_host_is_looked_up_and_named_in_ascii(
    serve: Serve, given_and_asked: tuple[str, str]
) -> None:
    given, asked = given_and_asked
    server = serve(answer(b"picture"))
    looked_up = []

    def resolver(host: str, _port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    url = server.url("/x", host=given)
    assert fetch(url, for_server(server), soon(), resolver) == b"picture"
    assert looked_up == [asked]
    assert f"\r\nHost: {asked}:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize(
    "given",
    examples(REFUSED),
)
def test_what_is_refused_reaches_no_socket(serve: Serve, given: str) -> None:
    server = serve(answer(b"picture"))
    url = given.replace("HOST", f"127.0.0.1:{server.port}")
    with pytest.raises(BrokenBase64OrUrl):
        fetch(url, for_server(server), soon(), lambda _h, _p: ["127.0.0.1"])
    assert server.connections == 0
