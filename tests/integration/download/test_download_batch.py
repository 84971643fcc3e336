"""Many downloads at once: every outcome is there in time, hosts are spared."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

import pytest

from catalog.database.durations import LONGEST_PAUSE
from config.settings import Settings
from contract.errors import BrokenBase64OrUrl, ImageSizeExceedLimit
from download import client
from download.batch import fetch_all
from download.client import TransientFetchError
from download.faults import PutOffError
from download.policy import FetchPolicy, fetch_policy_of
from tests.integration.download.loopback import Serve, Server, Stopwatch, Talk
from tests.integration.download.loopback import policy as policy_for
from workers.support.tries import JITTER


def policy(*servers: Server, **changes: Any) -> FetchPolicy:
    allow = (f"127.0.0.1:{server.port}" for server in servers)
    return policy_for(*allow, **{"max_bytes": 1000} | changes)


def fetch_many(
    *arguments: Any, workers: int = 16, per_host: int = 4, **options: Any
) -> dict[Any, Any]:
    return fetch_all(*arguments, workers=workers, per_host=per_host, **options)


def soon(seconds: float = 30.0) -> float:
    return time.monotonic() + seconds


def answering(body: bytes, status: bytes = b"200 OK", wait: float = 0.0) -> Talk:
    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        server.stopping.wait(wait)
        server.is_over(connection)
        connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
        connection.sendall(body)

    return talk


def loopback(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


def test_each_url_has_its_own_outcome_and_a_stuck_server_delays_none(
    serve: Serve, stopwatch: Stopwatch
) -> None:
    fine, empty = serve(answering(b"fine")), serve(answering(b""))
    gone, busy = serve(answering(b"", b"404 X")), serve(answering(b"", b"503 X"))
    large, stuck = serve(answering(bytes(1000))), serve(answering(b"late", wait=60))
    servers = {
        1: fine,
        2: empty,
        3: gone,
        4: busy,
        5: large,
        6: stuck,
    }
    urls = {label: server.url() for label, server in servers.items()}
    urls |= {7: "ftp://a.test/", 8: "http://10.0.0.1/", 9: "", 10: fine.url("/again")}
    outcomes = fetch_many(urls, policy(*servers.values()), soon(2.0))
    assert 1.9 < stopwatch() < 20
    assert list(outcomes) == list(urls)
    assert outcomes.pop(1) == outcomes.pop(10) == b"fine"
    assert outcomes.pop(2) == b""
    assert isinstance(outcomes.pop(5), ImageSizeExceedLimit)
    assert isinstance(outcomes.pop(4), TransientFetchError)
    assert isinstance(outcomes.pop(6), TransientFetchError)
    assert {type(outcome) for outcome in outcomes.values()} == {BrokenBase64OrUrl}


def test_without_a_stuck_server_nobody_waits_for_the_deadline(
    serve: Serve, stopwatch: Stopwatch
) -> None:
    server = serve(answering(b"fine"))
    urls = {number: server.url(f"/{number}") for number in range(12)}
    outcomes = fetch_many(urls, policy(server), soon(100))
    assert set(outcomes.values()) == {b"fine"}
    assert stopwatch() < 20


def test_no_url_is_an_empty_answer() -> None:
    assert fetch_many({}, policy(), soon()) == {}


def test_one_host_has_four_requests_at_a_time_and_others_go_on(serve: Serve) -> None:
    slow, quick = serve(answering(b"slow", wait=0.1)), serve(answering(b"quick"))
    urls = {("slow", number): slow.url(host="slow.test") for number in range(10)}
    urls |= {("quick", number): quick.url(host="quick.test") for number in range(4)}
    outcomes = fetch_many(urls, policy(slow, quick), soon(), workers=16, resolver=loopback)
    assert all(outcome == label[0].encode() for label, outcome in outcomes.items())
    assert slow.most_running == 4


def to(url: str) -> Talk:
    return answering(b"", b"302 X\r\nLocation: " + url.encode())


def test_redirects_from_many_hosts_are_four_at_a_time_at_the_host_that_they_lead_to(
    serve: Serve,
) -> None:
    goal = serve(answering(b"goal", wait=0.1))
    server = serve(to(goal.url(host="goal.test")))
    urls = {str(number): server.url(host=f"{number}.a.test") for number in range(10)}
    urls |= {"direct": goal.url(host="goal.test")}
    outcomes = fetch_many(urls, policy(server, goal), soon(), workers=16, resolver=loopback)
    assert set(outcomes.values()) == {b"goal"}
    assert goal.most_running == 4


def test_hosts_that_lead_to_each_other_do_not_wait_for_each_other(
    serve: Serve, stopwatch: Stopwatch
) -> None:
    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        other = "b" if b"Host: a.test" in request else "a"
        moved = server.url("/there", host=f"{other}.test")
        answer = answering(b"there") if b"/there" in request else to(moved)
        answer(server, connection, request)

    server = serve(talk)
    urls = {number: server.url(host=f"{'ab'[number % 2]}.test") for number in range(8)}
    outcomes = fetch_many(urls, policy(server), soon(), per_host=1, resolver=loopback)
    assert set(outcomes.values()) == {b"there"}
    assert stopwatch() < 20


def test_a_redirect_that_finds_no_room_by_the_deadline_is_transient(serve: Serve) -> None:
    stuck = serve(answering(b"late", wait=60))
    server = serve(to(stuck.url(host="stuck.test")))
    urls = {number: server.url(host=f"{number}.a.test") for number in range(3)}
    outcomes = fetch_many(urls, policy(server, stuck), soon(1.0), per_host=1, resolver=loopback)
    assert {type(outcome) for outcome in outcomes.values()} == {TransientFetchError}
    assert stuck.connections == 1


def test_no_more_than_the_workers_run_at_once(serve: Serve) -> None:
    server = serve(answering(b"fine", wait=0.05))
    urls = {number: server.url(host=f"{number}.a.test") for number in range(6)}
    outcomes = fetch_many(urls, policy(server), soon(), workers=2, resolver=loopback)
    assert set(outcomes.values()) == {b"fine"}
    assert server.most_running == 2


def test_what_waits_for_its_host_at_the_deadline_is_transient_and_never_begins(
    serve: Serve,
) -> None:
    over = threading.Event()

    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        over.wait(60)
        answering(b"late")(server, connection, request)

    server = serve(talk)
    urls = {number: server.url() for number in range(5)}
    outcomes = fetch_many(urls, policy(server), soon(1.0), per_host=1)
    kinds = Counter(type(outcome) for outcome in outcomes.values())
    assert kinds == {TransientFetchError: 1, PutOffError: 4}
    over.set()
    time.sleep(0.3)
    assert server.connections == 1


def test_an_unforeseen_fault_of_one_url_leaves_the_others_and_is_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(answering(b"fine"))

    def resolver(host: str, _port: int) -> list[str]:
        if host == "odd.test":
            raise ZeroDivisionError
        return ["127.0.0.1"]

    urls = {1: server.url(host="odd.test"), 2: server.url(host="fine.test")}
    outcomes = fetch_many(urls, policy(server), soon(), workers=1, resolver=resolver)
    assert isinstance(outcomes[1], TransientFetchError)
    assert outcomes[2] == b"fine"
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("stage", ["dns", "fetch"])
def test_threads_that_hang_do_not_keep_the_interpreter(stage: str) -> None:
    code = f"""
import time
from download import batch
from config.allow_list import AllowList
hang = lambda *_: time.sleep(120)
if {stage!r} == "fetch":
    batch.fetch = hang
policy = batch.FetchPolicy(
    allow=AllowList(), max_bytes=10, ports=frozenset({{80}}), connect_seconds=3,
    read_gap_seconds=5, total_seconds=15,
)
outcomes = batch.fetch_all(
    {{1: "http://a.test/"}}, policy, time.monotonic() + 0.2, workers=16, per_host=4, resolver=hang,
)
assert type(outcomes[1]) is batch.TransientFetchError
"""
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, "-W", "error", "-c", code]
    subprocess.run(command, env=environment, check=True, timeout=80)


def test_the_default_limits_are_those_of_the_practice() -> None:
    rule = fetch_policy_of(Settings())
    limits = (rule.connect_seconds, rule.read_gap_seconds, rule.total_seconds, rule.redirects)
    assert limits == (3.0, 5.0, 15.0, 5)
    assert rule.ports == {80, 443}
    assert LONGEST_PAUSE.total_seconds() == client.RETRY_AFTER_LIMIT * JITTER
