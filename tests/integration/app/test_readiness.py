"""/readyz against servers that are there, are not, or say nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import redis
from pydantic import SecretStr

from app.server import create_app
from app.services import make_services
from broker.reports.room_notice import RoomNotice
from broker.staged_bytes import StagedBytes
from catalog.store import Catalog
from config.embedded import free_port
from config.settings import settings
from tests.integration.app.api_in_process import Serve

#: Ten times what is meant; pymongo by itself tries for 30 s.
SECONDS = 20.0


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port whose server accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def ask(**urls: str) -> tuple[list[str], float]:
    """Return the faults that /readyz tells of these servers, and after how many seconds."""
    chosen = settings().model_copy(update={name: SecretStr(url) for name, url in urls.items()})
    services = make_services(chosen)
    client = create_app(services).test_client()
    began = time.monotonic()
    answer = client.get("/readyz")
    seconds = time.monotonic() - began
    services.catalog.client.close()
    services.redis.close()
    assert answer.status_code == 503
    faults: list[str] = answer.get_json()["faults"]
    return faults, seconds


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_mongodb_that_is_away_is_told_long_before_its_driver_gives_up(
    catalog: Catalog, silent_port: int, is_silent: bool
) -> None:
    port = silent_port if is_silent else free_port()
    faults, seconds = ask(mongo_url=f"mongodb://127.0.0.1:{port}/")
    assert "MongoDB can't be reached" in faults
    assert seconds < SECONDS


def test_two_servers_that_hang_are_told_long_before_their_drivers_give_up(
    catalog: Catalog, silent_port: int
) -> None:
    faults, seconds = ask(
        mongo_url=f"mongodb://127.0.0.1:{silent_port}/",
        redis_url=f"redis://127.0.0.1:{silent_port}/0",
    )
    assert faults == ["MongoDB can't be reached", "Redis can't be reached"]
    assert seconds < SECONDS


def test_fetching_that_waits_for_room_is_told_with_how_long_until_there_is_room(
    catalog: Catalog, redis_client: redis.Redis, serve: Serve
) -> None:
    client = serve(staged_bytes=100)
    staged = StagedBytes(redis_client, 100, 60, catalog.identity.get())

    def warnings() -> list[str]:
        found: list[str] = client.get("/readyz").get_json().get("warnings", [])
        return found

    assert warnings() == []
    RoomNotice(redis_client).note()
    redis_client.pexpire("room:since", redis_client.pttl("room:since") - 100_000)
    assert warnings() == []
    staged.put({1: b"x" * 100})
    (warning,) = warnings()
    assert warning in [
        f"no room for fetched bytes, fetching has waited for {seconds} s"
        for seconds in range(100, 150)
    ]
    staged.remove([1])
    assert warnings() == []
