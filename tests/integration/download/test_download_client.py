"""What one download answers, against real sockets on loopback."""

from __future__ import annotations

import email.utils
import socket
import time
from typing import Any

import pytest

from contract.errors import BrokenBase64OrUrl
from download import client
from download.address import judge_url
from download.batch import fetch_all
from download.client import (
    TransientFetchError,
    fetch,
    redirect_target,
    retry_after_seconds,
)
from download.connection import dial
from tests.integration.download.loopback import (
    MAX_BYTES,
    Serve,
    Server,
    Stopwatch,
    answer,
    for_server,
    policy,
    redirect,
    soon,
)

# What comes back


@pytest.mark.parametrize("body", [b"", b"bytes", bytes(MAX_BYTES - 1)])
def test_the_bytes_come_back(serve: Serve, body: bytes) -> None:
    server = serve(answer(body))
    assert fetch(server.url("/a%20b?q=ü"), for_server(server), soon()) == body


def test_a_body_without_a_length_and_a_chunked_body_come_back(serve: Serve) -> None:
    plain = serve(b"HTTP/1.1 200 OK\r\n\r\nbytes")
    chunked = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbytes\r\n0\r\n\r\n")
    for server in (plain, chunked):
        assert fetch(server.url(), for_server(server), soon()) == b"bytes"


def test_the_request_says_who_asks_and_asks_for_no_encoding(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    server = serve(answer(b"bytes"))
    fetch(server.url("/a b".replace(" ", "%20")), for_server(server, user_agent="me/1"), soon())
    head, _, _ = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"GET /a%20b HTTP/1.1"
    assert {b"Accept-Encoding: identity", b"User-Agent: me/1"} <= set(lines)
    assert f"Host: 127.0.0.1:{server.port}".encode() in lines
    assert not any(line.lower().startswith((b"cookie", b"authorization")) for line in lines)


def test_ipv6_is_fetched_from(serve: Serve) -> None:
    try:
        server = serve(answer(b"six"), address="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    url = server.url(host="[::1]")
    assert fetch(url, policy(f"[::1]:{server.port}"), soon()) == b"six"
    assert f"Host: [::1]:{server.port}\r\n".encode() in server.requests[0]


# Statuses


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 410, 416, 501, 505])
def test_other_statuses_are_faults_for_good(serve: Serve, status: int) -> None:
    server = serve(answer(status=f"{status} X"))
    with pytest.raises(BrokenBase64OrUrl, match=str(status)):
        fetch(server.url(), for_server(server), soon())


@pytest.mark.parametrize("status", [202, 408, 423, 425, 429, 430, 500, 502, 503, 504, 599])
def test_busy_statuses_are_transient(serve: Serve, status: int) -> None:
    server = serve(answer(status=f"{status} X"))
    with pytest.raises(TransientFetchError, match=str(status)) as caught:
        fetch(server.url(), for_server(server), soon())
    assert caught.value.retry_after_seconds is None


def test_retry_after_is_handed_on(serve: Serve) -> None:
    server = serve(answer(status="503 X", Retry_After="7"))
    with pytest.raises(TransientFetchError) as caught:
        fetch(server.url(), for_server(server), soon())
    assert caught.value.retry_after_seconds == 7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 12 ", 12),
        ("301", 240),
        ("9" * 5000, 240),
        ("-1", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 9998 07:28:00 GMT", 240),
    ],
)
def test_retry_after_is_seconds_or_a_date_of_four_minutes_at_most(
    value: str | None, seconds: float | None
) -> None:
    assert retry_after_seconds(value) == seconds


def test_retry_after_as_a_near_date_is_the_time_until_it() -> None:
    value = email.utils.formatdate(time.time() + 20, usegmt=True)
    seconds = retry_after_seconds(value)
    assert seconds is not None
    assert 5 < seconds <= 20


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(serve: Serve, status: int) -> None:
    goal = serve(answer(b"goal"))
    server = serve(answer(status=f"{status} X", Location=goal.url("/é")))
    rule = policy(f"127.0.0.1:{server.port}", f"127.0.0.1:{goal.port}")
    assert fetch(server.url(), rule, soon()) == b"goal"
    assert goal.requests[0].startswith(b"GET /%C3%A9 ")


def test_a_relative_redirect_is_followed(serve: Serve) -> None:
    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        moved = request.startswith(b"GET /a/b ")
        connection.sendall(redirect("../c?d") if moved else answer(request[:8]))

    server = serve(talk)
    assert fetch(server.url("/a/b"), for_server(server), soon()) == b"GET /c?d"


def test_a_redirect_to_a_forbidden_address_makes_no_connection(serve: Serve) -> None:
    secret = serve(answer(b"secret"))
    server = serve(redirect(secret.url()))
    with pytest.raises(BrokenBase64OrUrl, match="forbidden address"):
        fetch(server.url(), for_server(server), soon())
    assert secret.connections == 0


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "file:///etc/passwd",
        "ftp://example.com/",
        "http://user@example.com/",
        "http://example.com:6379/",
        "http://[::1",
        "https:///x",
        "http://\xff/",
    ],
)
def test_a_redirect_to_a_forbidden_url_is_refused(serve: Serve, location: str) -> None:
    head = redirect("LOCATION").replace(b"LOCATION", location.encode("latin-1"))
    server = serve(head)
    with pytest.raises(BrokenBase64OrUrl):
        fetch(server.url(), for_server(server), soon())
    assert server.connections == 1


def test_a_redirect_to_a_name_with_a_forbidden_address_is_refused(serve: Serve) -> None:
    server = serve(redirect("http://inside.test/"))
    with pytest.raises(BrokenBase64OrUrl, match="forbidden address"):
        fetch(server.url(), for_server(server), soon(), lambda _host, _port: ["10.0.0.1"])


@pytest.mark.parametrize("redirects", [0, 3, 5])
def test_a_redirect_loop_ends_after_as_many_redirects_as_are_allowed(
    serve: Serve, redirects: int
) -> None:
    server = serve(redirect("/again"))
    with pytest.raises(BrokenBase64OrUrl, match=f"redirects more than {redirects} times"):
        fetch(server.url(), for_server(server, redirects=redirects), soon())
    assert server.connections == redirects + 1


def test_five_redirects_are_followed(serve: Serve) -> None:
    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        count = int(request[5:6])
        connection.sendall(redirect(f"/{count + 1}") if count < 5 else answer(b"there"))

    server = serve(talk)
    assert fetch(server.url("/0"), for_server(server), soon()) == b"there"


def test_the_body_of_a_redirect_is_not_read(serve: Serve, stopwatch: Stopwatch) -> None:
    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        if b"/moved" in request:
            connection.sendall(answer(b"there"))
            return
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /moved\r\n\r\n")
        while not server.stopping.is_set():
            connection.sendall(bytes(65536))

    server = serve(talk)
    assert fetch(server.url(), for_server(server), soon()) == b"there"
    assert stopwatch() < 10


def test_a_redirect_without_a_location_is_a_fault_for_good(serve: Serve) -> None:
    server = serve(answer(status="302 Found"))
    with pytest.raises(BrokenBase64OrUrl, match="302"):
        fetch(server.url(), for_server(server), soon())


def test_https_leads_to_https_only() -> None:
    rule = policy()
    secure, open_ = judge_url("https://a.test/x", rule), judge_url("http://a.test/x", rule)
    with pytest.raises(BrokenBase64OrUrl, match="https to http"):
        redirect_target(secure, "http://a.test/y", rule)
    assert redirect_target(secure, "//b.test/y", rule).url == "https://b.test/y"
    assert redirect_target(open_, "https://a.test/y", rule).scheme == "https"


# Broken servers


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
def test_an_answer_that_is_no_http_is_transient(serve: Serve, reply: bytes) -> None:
    server = serve(reply)
    with pytest.raises(TransientFetchError):
        fetch(server.url(), for_server(server), soon())


def test_contradictory_lengths_are_a_fault_for_good(serve: Serve) -> None:
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx")
    with pytest.raises(BrokenBase64OrUrl):
        fetch(server.url(), for_server(server), soon())


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxx",
        b"HTTP/1.1 404 X\r\nContent-Length: 9\r\n\r\nx",
        b"no HTTP at all\r\n\r\n",
    ],
    ids=["fine", "contradictory lengths", "cut off", "not there", "no HTTP"],
)
def test_no_answer_leaves_its_socket_to_the_garbage_collector(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, reply: bytes
) -> None:
    dialled = []

    def dial_noted(*arguments: Any) -> socket.socket:
        dialled.append(dial(*arguments))
        return dialled[-1]

    monkeypatch.setattr(client, "dial", dial_noted)
    server = serve(reply)
    # A fault is kept as the outcome of its URL, and holds on to all that its frames held.
    outcomes = fetch_all({"a": server.url()}, for_server(server), soon(), workers=1, per_host=1)
    assert [sock.fileno() for sock in dialled] == [-1], outcomes


def test_a_reset_is_transient(serve: Serve) -> None:
    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    server = serve(talk)
    with pytest.raises(TransientFetchError):
        fetch(server.url(), for_server(server), soon())


def test_a_refused_connection_is_transient() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(TransientFetchError):
            fetch(f"http://127.0.0.1:{port}/", policy(f"127.0.0.1:{port}"), soon())


def test_the_next_address_is_tried_where_one_refuses(serve: Serve) -> None:
    server = serve(answer(b"second"))
    rule = policy(f"127.0.0.0/8:{server.port}")
    url = server.url(host="shop.test")
    assert fetch(url, rule, soon(), lambda _h, _p: ["127.0.0.9", "127.0.0.1"]) == b"second"
