"""What real servers answer is told apart: by `snapsku doctor`, and before `snapsku up` starts."""

from __future__ import annotations

import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pymongo.errors import PyMongoError
from redis.exceptions import AuthenticationError, RedisError

from broker.redis_connection import connect_redis
from catalog.database.connection import connect
from cli.findings import Wrong
from cli.preflight import faults
from cli.redis_checks import redis_server
from config.embedded import free_port, valkey_command
from config.server_faults import mongo_fault
from config.settings import Settings
from tests.servers import Servers


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Redis that wants a password, and has a user `shop` who may not write."""
    port = free_port()
    command = [
        *valkey_command(tmp_path_factory.mktemp("locked"), port),
        *(
            "--requirepass",
            "hunter2",
            "--user",
            *["shop", "on", ">hunter3", "~*", "+ping", "+info"],
        ),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with redis.Redis(port=port) as client:
                    client.ping()
            except AuthenticationError:
                break
            except RedisError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield port
    finally:
        server.kill()
        server.wait(10)


def told_by_doctor(url: str) -> str:
    with connect_redis(url, 2, 2) as client, pytest.raises(Wrong) as wrong:
        redis_server(client)
    return str(wrong.value)


def told_before_the_start(tmp_path: Path, **values: Any) -> list[str]:
    chosen = Settings(port=free_port(), flower_port=free_port(), **values)
    return faults(chosen, {"api": 1, "flower": 1}, tmp_path)


@pytest.mark.parametrize(
    ("login", "told"),
    [
        ("", "wants a password; write redis://:PASSWORD@HOST"),
        (":wrong@", "refuses the user or the password of SNAPSKU_REDIS_URL"),
        ("stranger:hunter2@", "refuses the user or the password of SNAPSKU_REDIS_URL"),
    ],
)
def test_a_redis_that_refuses_the_login_is_told_and_nothing_is_started(
    locked: int, tmp_path: Path, login: str, told: str
) -> None:
    url = f"redis://{login}127.0.0.1:{locked}/0"
    assert told in told_by_doctor(url)
    (line,) = told_before_the_start(tmp_path, redis_url=url)
    assert line.startswith("Redis ")
    assert told in line
    assert "hunter" not in line


def test_the_right_password_is_taken(locked: int, tmp_path: Path) -> None:
    assert told_before_the_start(tmp_path, redis_url=f"redis://:hunter2@127.0.0.1:{locked}/0") == []


def test_a_redis_that_takes_no_writes_is_told_before_the_start(
    servers: Servers, tmp_path: Path
) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.replicaof("127.0.0.1", 1)
        try:
            (line,) = told_before_the_start(tmp_path, redis_url=servers.redis_url)
        finally:
            client.replicaof("NO", "ONE")
    assert line == "Redis takes no writes: it is a read-only replica; put that right first"


def test_a_user_of_redis_who_may_not_write_is_told(locked: int) -> None:
    assert "its user may not" in told_by_doctor(f"redis://shop:hunter3@127.0.0.1:{locked}/0")


class _Speaks(socketserver.BaseRequestHandler):
    """Sends a greeting of its own, and closes."""

    def handle(self) -> None:
        self.request.sendall(b"220 mail.example ESMTP\r\n")


@pytest.fixture
def mail_server() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Speaks) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_another_program_is_told_from_redis_and_nothing_is_started(
    mail_server: int, tmp_path: Path
) -> None:
    url = f"redis://127.0.0.1:{mail_server}/0"
    assert "another program" in told_by_doctor(url)
    (line,) = told_before_the_start(tmp_path, redis_url=url)
    assert "another program" in line


def test_another_program_is_told_from_mongodb_and_nothing_is_started(
    mail_server: int, tmp_path: Path
) -> None:
    url = f"mongodb://127.0.0.1:{mail_server}/"
    (line,) = told_before_the_start(tmp_path, mongo_url=url, mongo_timeout_seconds=1)
    assert line.startswith("MongoDB does not speak MongoDB's protocol")


def test_two_servers_whose_urls_were_swapped_are_told(servers: Servers) -> None:
    redis_port, mongo_port = (
        url.partition("127.0.0.1:")[2].partition("/")[0]
        for url in (servers.redis_url, servers.mongo_url)
    )
    assert "another program" in told_by_doctor(f"redis://127.0.0.1:{mongo_port}/0")
    with (
        connect(f"mongodb://127.0.0.1:{redis_port}/", 1) as client,
        pytest.raises(PyMongoError) as met,
    ):
        client.server_info()
    assert "another program" in mongo_fault(met.value)
