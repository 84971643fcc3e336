"""Flower as it runs: who gets in, and where it refuses to listen."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from config.embedded import free_port
from config.refusal import REFUSED
from tests.integration.operations.programs import environment, run
from tests.integration.running_flower import running_flower
from tests.servers import Servers

CREDENTIALS = ("operator", "hunter2")

Start = Callable[..., str]


@pytest.fixture
def start(servers: Servers, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts Flower and gives its address."""
    with ExitStack() as running:

        def started(**settings: str) -> str:
            return running.enter_context(
                running_flower(tmp_path, redis_url=servers.redis_url, **settings)
            )

        yield started


def status(url: str, auth: tuple[str, str] | None = None) -> int:
    return requests.get(url, auth=auth, timeout=10).status_code


def test_with_a_password_nobody_gets_in_without_it(start: Start, tmp_path: Path) -> None:
    url = start(flower_user=CREDENTIALS[0], flower_password=CREDENTIALS[1], log_format="json")
    closed = ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks")
    for path in (*closed, "/metrics", "/healthcheck"):
        assert status(url + path) == 401, path
        assert status(url + path, ("operator", "wrong")) == 401, path
        assert status(url + path, ("somebody", "hunter2")) == 401, path
        assert status(url + path, CREDENTIALS) == 200, path
    log = (tmp_path / "flower.log").read_text("utf-8")
    assert "hunter2" not in log
    assert b64encode(b":".join(part.encode() for part in CREDENTIALS)).decode() not in log
    assert all(line.startswith("{") for line in log.splitlines())


def test_without_a_password_the_api_of_flower_stays_closed(start: Start) -> None:
    url = start()
    for path in ("/", "/metrics", "/healthcheck"):
        assert status(url + path) == 200, path
    assert status(f"{url}/api/workers") == 401
    control = requests.post(f"{url}/api/worker/shutdown/fetch@x", timeout=10)
    assert control.status_code == 401


def test_beyond_loopback_without_a_password_nobody_gets_in_but_with_the_one_it_made(
    start: Start, tmp_path: Path
) -> None:
    url = start(host="0.0.0.0", data_dir=str(tmp_path))  # noqa: S104
    password = (tmp_path / "flower.password").read_text("ascii").strip()
    for path in ("/", "/metrics", "/healthcheck", "/api/workers"):
        assert status(url + path) == 401, path
        assert status(url + path, ("admin", password)) == 200, path
    assert password not in (tmp_path / "flower.log").read_text("utf-8")


def test_beyond_loopback_flower_refuses_where_it_can_make_no_password(
    servers: Servers, tmp_path: Path
) -> None:
    (tmp_path / "flower.password").mkdir()
    ended = run(
        "flower",
        environment(
            tmp_path,
            redis_url=servers.redis_url,
            flower_port=str(free_port()),
            host="0.0.0.0",  # noqa: S104
            data_dir=str(tmp_path),
        ),
    )
    assert ended.returncode == REFUSED
    (line,) = ended.stderr.strip().splitlines()
    assert "Flower would listen on 0.0.0.0 for everybody" in line
