"""A cookie that a host sets with a redirect goes with the next request to it, and no further."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path

import pytest

from contract.errors import BrokenBase64OrUrl
from download.client import fetch
from tests.integration.download.loopback import (
    Serve,
    Server,
    answer,
    for_server,
    once,
    policy,
    redirect,
    soon,
)

SET_COOKIES = b"Set-Cookie: plain=1; Path=/", b"Set-Cookie: secure=1; Path=/; Secure"


def cookies_of(request: bytes) -> list[str]:
    """Return the cookies of a request, of one header at most."""
    headers = re.findall(rb"\r\nCookie: ([^\r]*)\r\n", request, re.IGNORECASE)
    assert len(headers) <= 1
    return headers[0].decode().split("; ") if headers else []


def after(serve: Serve, *lines: bytes) -> list[str]:
    """Return the cookies that go with the request after a redirect with these Set-Cookie lines."""
    server = serve(once(b"Location: /img/b", *(b"Set-Cookie: " + line for line in lines)))
    fetch(server.url("/img/a"), for_server(server), soon())
    assert cookies_of(server.requests[0]) == []
    return cookies_of(server.requests[1])


def test_a_cookie_goes_with_the_next_request_to_its_host(serve: Serve) -> None:
    assert after(serve, b"a=1; Path=/; HttpOnly; SameSite=Lax", b'b = "x y"', b"a=2") == [
        'b="x y"',
        "a=2",
    ]


def test_a_cookie_is_forgotten_with_its_download(serve: Serve) -> None:
    server = serve(once(b"Location: /b", b"Set-Cookie: a=1; Max-Age=9999"))
    for _ in range(2):
        fetch(server.url("/a"), for_server(server), soon())
    assert [cookies_of(request) for request in server.requests] == [[], ["a=1"], []]


def test_a_cookie_stays_for_all_further_redirects(serve: Serve) -> None:
    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        step = int(request[5:6])
        moved = redirect(f"/{step + 1}").replace(b"\r\n", b"\r\nSet-Cookie: c%d=v\r\n" % step, 1)
        connection.sendall(moved if step < 3 else answer(b"there"))

    server = serve(talk)
    fetch(server.url("/0"), for_server(server), soon())
    assert cookies_of(server.requests[3]) == ["c0=v", "c1=v", "c2=v"]


@pytest.mark.parametrize(
    "line",
    [
        b"=1",
        b"",
        b"a=\xff",
        b"a=1\x01",
        b"a=1; Secure",
        b"a=1; Max-Age=0",
        b"a=1; Max-Age=-1",
        b"a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        b"a=1; Path=/other",
        b"a=1; Path=/im",
        b"a=1; Domain=other.test",
        b"a=" + b"x" * 4096,
    ],
)
def test_a_cookie_that_is_not_for_the_next_request_stays_behind(serve: Serve, line: bytes) -> None:
    assert after(serve, line) == []


@pytest.mark.parametrize(
    "line",
    [
        b"a=1; Path=/img",
        b"a=1; Path=/img/",
        b"a=1; path",
        b"a=1; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        b"a=1; Expires=soon",
        b"a=1; Domain=127.0.0.1",
    ],
)
def test_a_cookie_for_the_next_request_goes_with_it(serve: Serve, line: bytes) -> None:
    assert after(serve, line) == ["a=1"]


def test_a_cookie_can_be_taken_back(serve: Serve) -> None:
    assert after(serve, b"a=1", b"b=2", b"a=; Max-Age=0") == ["b=2"]


def test_cookies_have_room_for_four_thousand_characters(serve: Serve) -> None:
    lines = [b"c%02d=" % number + b"x" * 997 for number in range(9)]
    assert len(after(serve, *lines)) == 4


def test_a_cookie_goes_to_no_other_host(serve: Serve) -> None:
    server = serve(once(b"Location: http://b.a.test:PORT/", *SET_COOKIES))
    fetch(server.url(host="a.test"), for_server(server), soon(), lambda _h, _p: ["127.0.0.1"])
    assert b"Host: b.a.test" in server.requests[1]
    assert cookies_of(server.requests[1]) == []


def test_no_other_host_replaces_a_cookie(serve: Serve) -> None:
    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        goal = {1: "b.test", 2: "a.test"}.get(server.connections)
        moved = redirect(f"http://{goal}:{server.port}/")
        line = b"\r\nSet-Cookie: a=%d\r\n" % server.connections
        connection.sendall(moved.replace(b"\r\n", line, 1) if goal else answer(b"there"))

    server = serve(talk)
    fetch(server.url(host="a.test"), for_server(server), soon(), lambda _h, _p: ["127.0.0.1"])
    assert [cookies_of(request) for request in server.requests] == [[], [], ["a=1"]]


def test_a_cookie_goes_to_no_other_port(serve: Serve) -> None:
    other = serve(answer(b"there"))
    server = serve(once(b"Location: " + other.url().encode(), *SET_COOKIES))
    rule = policy(f"127.0.0.1:{server.port}", f"127.0.0.1:{other.port}")
    fetch(server.url(), rule, soon())
    assert cookies_of(other.requests[0]) == []


def tls(serve: Serve, certificate: Path, *lines: bytes) -> Server:
    """Return a server over TLS that redirects the first request with these lines."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            server.requests.append(secure.recv(4096))
            (once(*lines) if lines else once())(server, secure, b"")

    return serve(talk, listen_only=True)


def test_a_secure_cookie_goes_over_tls(serve: Serve, certificate: Path) -> None:
    server = tls(serve, certificate, b"Location: /x", *SET_COOKIES)
    rule = for_server(server, ca_file=str(certificate))
    url = f"https://public.test:{server.port}/"
    fetch(url, rule, soon(), lambda _h, _p: ["127.0.0.1"])
    assert cookies_of(server.requests[1]) == ["plain=1", "secure=1"]


def test_a_cookie_goes_from_http_to_https_of_its_host(serve: Serve, certificate: Path) -> None:
    goal = tls(serve, certificate)
    goal.connections = 1  # it is the second to be asked
    server = serve(once(f"Location: https://public.test:{goal.port}/".encode(), *SET_COOKIES))
    rule = policy(f"127.0.0.1:{server.port}", f"127.0.0.1:{goal.port}", ca_file=str(certificate))
    fetch(server.url(host="public.test"), rule, soon(), lambda _h, _p: ["127.0.0.1"])
    assert cookies_of(goal.requests[0]) == ["plain=1"], "a secure one can't be set over http"


def test_no_cookie_goes_from_https_to_http(serve: Serve, certificate: Path) -> None:
    open_ = serve(answer(b"there"))
    server = tls(
        serve, certificate, f"Location: {open_.url(host='public.test')}".encode(), *SET_COOKIES
    )
    rule = policy(f"127.0.0.1:{server.port}", f"127.0.0.1:{open_.port}", ca_file=str(certificate))
    with pytest.raises(BrokenBase64OrUrl, match="https to http"):
        fetch(f"https://public.test:{server.port}/", rule, soon(), lambda _h, _p: ["127.0.0.1"])
    assert open_.connections == 0
