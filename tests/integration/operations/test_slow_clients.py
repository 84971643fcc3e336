"""Clients that send or take one byte a second, by the hundred: others are answered all the same."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.integration.operations.programs import serving
from tests.integration.operations.raw_client import (
    CLIENT_SECONDS,
    Served,
    enveloped,
    post,
    read_all,
)
from tests.servers import Servers

#: More than six for each of the 16 threads.
SLOW = 100

#: What another client waits for its answer at most, in seconds; measured: under 0.1. Where slow
#: clients hold every thread, it waits until they are ended.
PATIENCE = CLIENT_SECONDS - 1

CALL = post("/v1/task_status", b'{"task_id": "default/c/1581417512.274598"}')


def longest_poll(served: Served, seconds: float) -> float:
    """Poll for so long, and return the longest time that an answer took."""
    longest = 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        answer = requests.post(
            f"{served.url}/v1/task_status",
            json={"task_id": "default/c/1581417512.274598"},
            timeout=60,
        )
        assert answer.json()["result"]["code"] == 1004
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.05)
    return longest


@contextmanager
def trickling(served: Served, first: bytes, rest: Callable[[], bytes]) -> Iterator[None]:
    """Hold many connections on which `first` was sent and a byte follows each second."""
    stop = threading.Event()
    with ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(SLOW)]
        for client in clients:
            client.sendall(first)

        def trickle() -> None:
            while not stop.wait(1):
                for client in clients:
                    try:
                        client.send(rest(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                    except OSError:
                        continue

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (b"", b""),
        (b"POST /v1/task_status HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"x"),
        (post("/v1/task_status", b'{"a": "', length=4_000_000), b"x"),
        (post("/v1/task_status", b"1\r\n{\r\n", "Transfer-Encoding: chunked", length=-1), b"1"),
        # Refused at once; and then they neither close nor end their body.
        (post("/v1/task_status", b"{", length=2**40), b"x"),
        (post("/v1/task_status", b"{}", kept=True) + b"POST", b"x"),
    ],
    ids=["silence", "head", "body", "chunks", "refused", "second request"],
)
def test_slow_senders_cost_no_thread(served: Served, first: bytes, rest: bytes) -> None:
    with trickling(served, first, lambda: rest):
        assert longest_poll(served, 2) < PATIENCE


def test_slow_readers_cost_no_thread(served: Served) -> None:
    asking = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 30
    with ExitStack() as stack:
        for _ in range(SLOW):
            stack.enter_context(served.connect(receive_buffer=4096)).sendall(asking)
        assert longest_poll(served, 2) < PATIENCE


def test_answers_are_made_no_faster_than_the_client_takes_them(served: Served) -> None:
    def made() -> int:
        return served.log.read_text("utf-8").count('"path": "/openapi.json"')

    asked, before = 400, made()
    with served.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * asked)
        assert longest_poll(served, 2) < PATIENCE
        # What the system buffers is some 30 answers.
        assert 0 < made() - before < asked // 2


def test_a_slow_sender_is_ended_at_the_deadline_with_an_envelope(served: Served) -> None:
    began = time.monotonic()
    with served.connect() as client:
        client.sendall(CALL[:-5])
        status, _, result = enveloped(read_all(client))
    assert (status, result["code"]) == (400, 5001)
    assert CLIENT_SECONDS - 0.5 < time.monotonic() - began < 10 * CLIENT_SECONDS


def test_a_client_that_still_sends_when_the_api_stops_gets_an_answer(
    servers: Servers, tmp_path: Path
) -> None:
    # Its own deadline is later than the end of a stop, which is no answer.
    with serving(servers, tmp_path, client_seconds=600) as (served, process):
        with served.connect() as client:
            client.sendall(CALL[:-5])
            longest_poll(served, 0.2)
            process.terminate()
            status, _, result = enveloped(read_all(client))
        assert (status, result["code"]) == (400, 5001)
        assert process.wait(45) == 0


def test_where_memory_runs_short_the_oldest_makes_room(served: Served) -> None:
    most = post("/v1/task_status", b" " * 7_000_000, length=7_000_001)
    with ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(6)]
        for client in clients:
            client.sendall(most)
        status, headers, _ = enveloped(read_all(clients[0]))
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        clients[-1].sendall(b" ")
        status, _, result = enveloped(read_all(clients[-1]))
        assert (status, result["code"]) == (400, 5001), "all of it came in, and is no JSON"


def test_where_connections_run_short_the_oldest_makes_room(served: Served) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(served.connect()) for _ in range(250)]
        assert longest_poll(served, 0.5) < PATIENCE
        assert idle[0].recv(1) == b""


def test_a_request_in_any_pieces_is_answered_and_the_next_one_too(served: Served) -> None:
    body = json.dumps({"task_id": "default/c/1581417512.274598"}).encode()
    chunked = b"5;a=b\r\n" + body[:5] + b"\r\n%x\r\n" % (len(body) - 5) + body[5:] + b"\r\n0\r\n"
    calls = [
        post("/v1/task_status", body, kept=True),
        post(
            "/v1/task_status",
            chunked + b"X-Trailer: y\r\n\r\n",
            "Transfer-Encoding: chunked",
            length=-1,
            kept=True,
        ),
        CALL,
    ]
    said = b"".join(calls)
    for size in (1, 7, 64, len(said)):
        with served.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(said), size):
                client.sendall(said[start : start + size])
            answers = read_all(client).split(b"HTTP/1.1 ")[1:]
        assert len(answers) == 3
        for answer in answers:
            assert enveloped(b"HTTP/1.1 " + answer)[2]["code"] == 1004


def test_a_client_that_waits_for_a_word_before_its_body_gets_it(served: Served) -> None:
    head, _, body = CALL.partition(b"\r\n\r\n")
    with served.connect() as client:
        client.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        client.sendall(body)
        assert enveloped(read_all(client))[2]["code"] == 1004
