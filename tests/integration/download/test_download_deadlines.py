"""No phase of a download outlasts its deadline; servers hang for far longer than the bounds."""

from __future__ import annotations

import socket
import threading
import tracemalloc

import pytest

from download.client import TransientFetchError, fetch
from tests.integration.download.loopback import (
    Serve,
    Server,
    Stopwatch,
    Talk,
    answer,
    for_server,
    policy,
    redirect,
    soon,
    trickle,
)

SLOW = {
    "silence": trickle(b"", b"", 0.05),
    "status line": trickle(b"HTTP/1.1 2", b"0", 0.05),
    "headers": trickle(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05),
    "one header": trickle(b"HTTP/1.1 200 OK\r\nX: ", b"y", 0.05),
    "continue": trickle(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.2),
    "body": trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x", 0.05),
    "body without length": trickle(b"HTTP/1.1 200 OK\r\n\r\n", b"x", 0.05),
    "chunks": trickle(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.05
    ),
    "body of a byte a second": trickle(b"HTTP/1.1 200 OK\r\n\r\n", b"x", 1.0),
}


@pytest.mark.parametrize("talk", SLOW.values(), ids=SLOW.keys())
def test_a_slow_server_ends_at_the_deadline(serve: Serve, talk: Talk, stopwatch: Stopwatch) -> None:
    server = serve(talk)
    with pytest.raises(TransientFetchError):
        fetch(server.url(), for_server(server), soon(0.5))
    assert 0.4 < stopwatch() < 9


def test_the_policys_total_binds_where_it_is_earlier(serve: Serve, stopwatch: Stopwatch) -> None:
    server = serve(SLOW["body"])
    with pytest.raises(TransientFetchError):
        fetch(server.url(), for_server(server, total_seconds=0.3), soon(60))
    assert 0.2 < stopwatch() < 7


def test_a_silence_longer_than_the_read_gap_ends_it(serve: Serve, stopwatch: Stopwatch) -> None:
    server = serve(SLOW["body of a byte a second"])
    with pytest.raises(TransientFetchError):
        fetch(server.url(), for_server(server, read_gap_seconds=0.2), soon())
    assert stopwatch() < 7


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("begin", [CHUNKED, CHUNKED + b"1\r\nx\r\n0\r\n"], ids=["size", "trailer"])
def test_an_endless_line_among_the_chunks_fills_no_memory(
    serve: Serve, begin: bytes, stopwatch: Stopwatch
) -> None:
    """Up to urllib3 2.7 it was read whole: 1.5 GB in two seconds, and past the deadline."""
    server = serve(trickle(begin, b"0" * 65536, 0.0))
    tracemalloc.start()
    try:
        with pytest.raises(TransientFetchError):
            fetch(server.url(), for_server(server), soon(0.5))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert stopwatch() < 9


@pytest.mark.parametrize("status", ["200 OK", "103 Early Hints"])
def test_a_head_without_end_is_given_up_long_before_the_deadline(
    serve: Serve, status: str, stopwatch: Stopwatch
) -> None:
    server = serve(trickle(f"HTTP/1.1 {status}\r\n".encode(), b"X: y\r\n" * 1000, 0.0))
    with pytest.raises(TransientFetchError) as caught:
        fetch(server.url(), for_server(server, total_seconds=60.0), soon(60))
    assert "is no HTTP" in caught.value.fault.detail
    assert stopwatch() < 30


def test_redirects_share_one_deadline(serve: Serve, stopwatch: Stopwatch) -> None:
    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        server.stopping.wait(0.25)
        connection.sendall(redirect("/again"))

    server = serve(talk)
    with pytest.raises(TransientFetchError):
        fetch(server.url(), for_server(server), soon(0.5))
    assert stopwatch() < 9


def test_a_tls_handshake_that_never_comes_ends_at_the_deadline(
    serve: Serve, stopwatch: Stopwatch
) -> None:
    server = serve(lambda server, *_: server.stopping.wait(60), listen_only=True)
    with pytest.raises(TransientFetchError):
        fetch(f"https://127.0.0.1:{server.port}/", for_server(server), soon(0.5))
    assert 0.4 < stopwatch() < 9


@pytest.mark.parametrize(("connect_seconds", "total"), [(60.0, 0.5), (0.5, 60.0)])
def test_a_connect_that_nobody_answers_ends_in_time(
    stopwatch: Stopwatch, connect_seconds: float, total: float
) -> None:
    # A backlog that is full: the kernel drops further attempts to connect.
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        rule = policy(f"127.0.0.1:{port}", connect_seconds=connect_seconds)
        with pytest.raises(TransientFetchError):
            fetch(f"http://127.0.0.1:{port}/", rule, soon(total))
    assert 0.4 < stopwatch() < 9


def test_slow_dns_ends_at_the_deadline(stopwatch: Stopwatch) -> None:
    over = threading.Event()

    def resolver(_host: str, _port: int) -> list[str]:
        over.wait(60)
        return ["127.0.0.1"]

    with pytest.raises(TransientFetchError, match="DNS"):
        fetch("http://slow.test/", policy(), soon(0.5), resolver)
    over.set()
    assert 0.4 < stopwatch() < 9


def test_a_deadline_that_has_passed_makes_no_connection(serve: Serve) -> None:
    server = serve(answer(b"bytes"))
    with pytest.raises(TransientFetchError):
        fetch(server.url(), for_server(server), soon(-1))
    assert server.connections == 0
