"""/healthz and /readyz: what each of them proves."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from app_standins import FailingCatalog
from flask.testing import FlaskClient
from pymongo.errors import ServerSelectionTimeoutError

from app.server import create_app
from app.services import Services
from workers.broker import QUEUES
from workers.staging import Consumption

MakeServices = Callable[..., Services]


def client_of(services: Services) -> FlaskClient:
    return create_app(services).test_client()


@pytest.fixture
def catalog() -> Any:
    return SimpleNamespace(ping=lambda: None)


def test_a_process_is_healthy_though_no_server_answers(
    make_services: MakeServices, redis_server: fakeredis.FakeServer
) -> None:
    redis_server.connected = False
    client = client_of(make_services(FailingCatalog(ServerSelectionTimeoutError("gone"))))
    response = client.get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_ready_means_that_every_queue_is_consumed(
    make_services: MakeServices, catalog: Any, redis_client: fakeredis.FakeRedis
) -> None:
    for queue in QUEUES:
        Consumption(redis_client).note(queue)
    response = client_of(make_services(catalog)).get("/readyz")
    assert response.status_code == 200
    answer = response.get_json()
    assert answer.pop("consumed_seconds_ago") == dict.fromkeys(QUEUES, pytest.approx(0, abs=2))
    assert answer == {"status": "ready"}


@pytest.mark.parametrize("stalled", QUEUES)
def test_a_queue_that_nobody_consumes_is_named(
    make_services: MakeServices, catalog: Any, redis_client: fakeredis.FakeRedis, stalled: str
) -> None:
    for queue in QUEUES:
        if queue != stalled:
            Consumption(redis_client).note(queue)
    response = client_of(make_services(catalog)).get("/readyz")
    assert response.status_code == 503
    answer = response.get_json()
    ages = answer.pop("consumed_seconds_ago")
    assert [queue for queue, age in ages.items() if age is None] == [stalled]
    assert answer == {"status": "not ready", "faults": [f"queue {stalled} is not consumed"]}


def test_a_queue_that_was_consumed_too_long_ago_is_named_with_its_age(
    make_services: MakeServices, catalog: Any, redis_client: fakeredis.FakeRedis
) -> None:
    for queue in QUEUES:
        Consumption(redis_client).note(queue)
    key = "consumed:vision"
    redis_client.pexpire(key, redis_client.pttl(key) - 31_000)
    response = client_of(make_services(catalog)).get("/readyz")
    assert response.status_code == 503
    answer = response.get_json()
    assert answer["faults"] == ["queue vision is not consumed"]
    assert answer["consumed_seconds_ago"]["vision"] == pytest.approx(31, abs=2)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_the_line_of_a_health_check_is_for_debugging_only(
    make_services: MakeServices, catalog: Any, log_lines: list[Any], path: str
) -> None:
    client = client_of(make_services(catalog))
    client.get(path)
    client.get("/elsewhere")
    levels = {line["path"]: line["log_level"] for line in log_lines if line["event"] == "answered"}
    assert levels == {path: "debug", "/elsewhere": "info"}


def test_servers_that_cannot_be_reached_are_named_and_nothing_else(
    make_services: MakeServices, redis_server: fakeredis.FakeServer
) -> None:
    services = make_services(FailingCatalog(ServerSelectionTimeoutError("mongodb://u:pw@h")))
    redis_server.connected = False
    response = client_of(services).get("/readyz")
    assert response.status_code == 503
    assert response.json == {
        "status": "not ready",
        "faults": ["MongoDB can't be reached", "Redis can't be reached"],
    }
