"""/healthz and /readyz: what each of them proves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from pymongo.errors import ServerSelectionTimeoutError

from app.server import create_app
from app.services import Services
from broker.queues import QUEUES
from broker.reports.heartbeats import Consumption
from broker.reports.index_reports import IndexReports
from broker.reports.process_reports import ProcessReport, ProcessReports
from config.data_directory import stack_id
from tests.reports import INDEX_REPORT
from tests.unit.app.standins import FailingCatalog

MakeServices = Callable[..., Services]


def client_of(services: Services) -> FlaskClient:
    return create_app(services).test_client()


@pytest.fixture
def catalog() -> Any:
    return SimpleNamespace(ping=lambda: None)


@pytest.fixture
def served(redis_client: fakeredis.FakeRedis) -> IndexReports:
    """Every queue is consumed, and the index process says that all is well."""
    for queue in QUEUES:
        Consumption(redis_client, 30.0).note(queue)
    reports = IndexReports(redis_client, 30.0)
    reports.publish(INDEX_REPORT)
    return reports


def test_a_process_is_healthy_though_no_server_answers(
    make_services: MakeServices, redis_server: fakeredis.FakeServer
) -> None:
    redis_server.connected = False
    client = client_of(make_services(FailingCatalog(ServerSelectionTimeoutError("gone"))))
    response = client.get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_ready_means_that_every_queue_is_consumed_and_the_index_whole(
    make_services: MakeServices, catalog: Any, served: IndexReports
) -> None:
    response = client_of(make_services(catalog)).get("/readyz")
    assert response.status_code == 200
    answer = response.get_json()
    assert answer.pop("consumed_seconds_ago") == dict.fromkeys(QUEUES, pytest.approx(0, abs=2))
    nothing = {"messages": 0, "oldest_seconds": None}
    assert answer.pop("waiting") == dict.fromkeys(QUEUES, nothing)
    assert len(answer.pop("stack")) == 8
    assert answer == {
        "status": "ready",
        "index": asdict(INDEX_REPORT),
        "index_standbys": [],
        "processes": [],
    }


@pytest.mark.parametrize("stalled", QUEUES)
def test_a_queue_that_nobody_consumes_is_named(
    make_services: MakeServices, catalog: Any, redis_client: fakeredis.FakeRedis, stalled: str
) -> None:
    for queue in QUEUES:
        if queue != stalled:
            Consumption(redis_client, 30.0).note(queue)
    response = client_of(make_services(catalog)).get("/readyz")
    assert response.status_code == 503
    answer = response.get_json()
    ages = answer.pop("consumed_seconds_ago")
    assert [queue for queue, age in ages.items() if age is None] == [stalled]
    assert answer.pop("index") is None
    assert answer.pop("waiting").keys() == set(QUEUES)
    assert answer.pop("index_standbys") == []
    answer.pop("stack")
    faults = [f"queue {stalled} is not consumed"]
    if stalled != "index":
        faults.append("index: its process has not said how it is")
    assert answer == {"status": "not ready", "faults": faults, "processes": []}


def test_a_queue_that_was_consumed_too_long_ago_is_named_with_its_age(
    make_services: MakeServices,
    catalog: Any,
    redis_client: fakeredis.FakeRedis,
    served: IndexReports,
) -> None:
    key = "consumed:vision"
    redis_client.pexpire(key, redis_client.pttl(key) - 31_000)
    response = client_of(make_services(catalog)).get("/readyz")
    assert response.status_code == 503
    answer = response.get_json()
    assert answer["faults"] == ["queue vision is not consumed"]
    assert answer["consumed_seconds_ago"]["vision"] == pytest.approx(31, abs=2)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"sets_not_ready": 3}, "index: 3 of 10 sets are not ready"),
        ({"is_complete": False}, "index: not all sets are known yet"),
    ],
)
def test_an_index_that_misses_images_is_not_ready(
    make_services: MakeServices,
    catalog: Any,
    served: IndexReports,
    changes: dict[str, Any],
    fault: str,
) -> None:
    served.publish(replace(INDEX_REPORT, **changes))
    response = client_of(make_services(catalog)).get("/readyz")
    assert response.status_code == 503
    answer = response.get_json()
    assert (answer["status"], answer["faults"]) == ("not ready", [fault])
    assert "warnings" not in answer


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        (
            {"snapshots_lost": 2},
            "index: 2 snapshots were lost and are built anew from MongoDB",
        ),
        (
            {"sets_not_saved": 1, "save_fault": "No space left on device"},
            "index: 1 of 10 sets could not be saved (No space left on device)",
        ),
        (
            {"bad_vectors": 2, "bad_images": "user/shop/a, user/shop/b"},
            "index: 2 images have a vector that can't be searched (`snapsku doctor` names them)",
        ),
    ],
)
def test_what_heals_by_itself_is_a_warning(
    make_services: MakeServices,
    catalog: Any,
    served: IndexReports,
    changes: dict[str, Any],
    warning: str,
) -> None:
    served.publish(replace(INDEX_REPORT, **changes))
    response = client_of(make_services(catalog)).get("/readyz")
    assert response.status_code == 200
    answer = response.get_json()
    assert (answer["status"], answer["warnings"]) == ("ready", [warning])


def test_a_second_index_process_is_a_warning_until_it_is_the_first(
    make_services: MakeServices, catalog: Any, served: IndexReports
) -> None:
    client = client_of(make_services(catalog))
    served.refuse("process 8 on there", "another owns its directory")
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.get_json()["warnings"] == [
        "index: a second process was refused (process 8 on there: another owns its directory)"
    ]
    served.accept()
    assert "warnings" not in client.get("/readyz").get_json()


def test_the_owner_of_the_index_and_its_standbys_are_named(
    make_services: MakeServices, catalog: Any, served: IndexReports
) -> None:
    client = client_of(make_services(catalog))
    served.stand_by("process 8 on there")
    answer = client.get("/readyz").get_json()
    assert (answer["index"]["process"], answer["index"]["epoch"]) == (
        INDEX_REPORT.process,
        INDEX_REPORT.epoch,
    )
    assert answer["index_standbys"] == ["process 8 on there"]
    served.publish(replace(INDEX_REPORT, process="process 8 on there"))
    assert client.get("/readyz").get_json()["index_standbys"] == [], "it owns the index now"


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
        "stack": stack_id(services.settings.data_dir),
    }


def test_what_could_not_be_checked_for_want_of_redis_is_told(
    make_services: MakeServices,
    catalog: Any,
    redis_server: fakeredis.FakeServer,
    served: IndexReports,
) -> None:
    services = make_services(catalog)
    redis_server.connected = False
    services.quotas.charge("u", 1, 1)
    redis_server.connected = True
    response = client_of(services).get("/readyz")
    assert response.status_code == 200
    assert response.get_json()["warnings"] == ["calls that passed without a look at their quota: 1"]


def test_every_process_tells_its_clock_and_its_disk_and_one_that_is_off_is_a_warning(
    make_services: MakeServices,
    catalog: Any,
    redis_client: fakeredis.FakeRedis,
    served: IndexReports,
) -> None:
    told = ProcessReports(redis_client)
    told.publish(ProcessReport("fetch process 1 on a", 0.1, 10))
    told.publish(ProcessReport("vision process 2 on b", -25.04, 20))
    response = client_of(make_services(catalog)).get("/readyz")
    answer = response.get_json()
    assert (response.status_code, answer["status"]) == (200, "ready")
    assert answer["warnings"] == ["clock of vision process 2 on b: 25.0 s behind the database's"]
    assert [one.pop("age_seconds") for one in answer["processes"]] == [
        pytest.approx(0, abs=2),
        pytest.approx(0, abs=2),
    ]
    assert answer["processes"] == [
        {"process": "fetch process 1 on a", "clock_offset_seconds": 0.1, "disk_free_bytes": 10},
        {
            "process": "vision process 2 on b",
            "clock_offset_seconds": -25.04,
            "disk_free_bytes": 20,
        },
    ]


def test_the_document_tells_what_every_answer_of_health_has(
    make_services: MakeServices,
    catalog: Any,
    redis_client: fakeredis.FakeRedis,
    redis_server: fakeredis.FakeServer,
    served: IndexReports,
) -> None:
    ProcessReports(redis_client).publish(ProcessReport("fetch process 1 on a", 9.0, 10))
    served.stand_by("process 2 on b")
    client = client_of(make_services(catalog))
    told = client.get("/openapi.json").get_json()

    def faults(path: str, status: int) -> list[str]:
        response = client.get(path)
        assert response.status_code == status
        answer = told["paths"][path]["get"]["responses"][str(status)]
        schema = answer["content"]["application/json"]["schema"]
        validator = Draft202012Validator({**schema, "components": told["components"]})
        return [error.message for error in validator.iter_errors(response.get_json())]

    assert faults("/healthz", 200) == []
    assert faults("/readyz", 200) == []
    redis_client.delete("consumed:vision", "index:report")
    assert faults("/readyz", 503) == []
    redis_server.connected = False
    assert faults("/readyz", 503) == []
