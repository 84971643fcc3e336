"""What `snapsku up` tells once the service is ready."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import readiness
from cli.readiness import address_of, places, told, told_when_ready
from config.data_directory import stack_id
from config.settings import Settings

NUMBERS = {"api": 1, "flower": 1}
EVERYWHERE = "0.0.0.0"  # noqa: S104
NAMED: dict[str, Any] = {"mongo_url": "mongodb://mongo/", "redis_url": "redis://redis/"}


class Api(http.server.ThreadingHTTPServer):
    """Answers /readyz with each of `answers` in turn, the last one again and again."""

    answers: list[dict[str, Any]]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        answers = self.server.answers
        told = answers.pop(0) if len(answers) > 1 else answers[0]
        answer = {"stack": stack_id(Path("data")), **told}
        content = json.dumps(answer).encode()
        self.send_response(503 if "faults" in answer else 200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def api(environment: pytest.MonkeyPatch) -> Iterator[Api]:
    environment.setattr(readiness, "LOOK_SECONDS", 0.01)
    environment.setattr(readiness, "STALE_SECONDS", 0.02)
    with Api(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def await_lines(lines: list[str], number: int) -> None:
    deadline = time.monotonic() + 30
    while len(lines) < number:
        assert time.monotonic() < deadline, lines
        time.sleep(0.01)


def test_the_places_are_told_once_when_the_service_is_ready(api: Api) -> None:
    api.answers = [{"status": "not ready", "faults": ["a queue is not consumed"]}] * 3
    api.answers.append({"status": "ready"})
    lines: list[str] = []
    chosen = Settings(port=api.server_port, **NAMED)
    with told_when_ready(chosen, NUMBERS, lines.append):
        await_lines(lines, 1)
        time.sleep(0.1)
    assert lines == [told(chosen, "ready", places(chosen, NUMBERS))]
    assert len(api.answers) == 1


def test_what_is_missing_is_told_while_it_takes_long(
    api: Api, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(readiness, "PATIENCE_SECONDS", 0.05)
    api.answers = [{"status": "not ready", "faults": ["queue vision is not consumed"]}]
    lines: list[str] = []
    with told_when_ready(Settings(port=api.server_port, **NAMED), NUMBERS, lines.append):
        await_lines(lines, 2)
    assert lines[0] == "snapsku: not ready yet\n  missing  queue vision is not consumed"


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        (
            {"status": "ready", "consumed_seconds_ago": {"fetch": 0.0, "vision": 25.0}},
            "queue vision is not consumed yet",
        ),
        ({"status": "ready", "stack": "another"}, "the API of another stack answers on its port"),
    ],
)
def test_what_another_run_or_another_stack_left_is_not_taken_for_ready(
    api: Api, environment: pytest.MonkeyPatch, answer: dict[str, Any], missing: str
) -> None:
    environment.setattr(readiness, "PATIENCE_SECONDS", 0.2)
    api.answers = [answer]
    lines: list[str] = []
    with told_when_ready(Settings(port=api.server_port, **NAMED), NUMBERS, lines.append):
        await_lines(lines, 1)
    assert lines[0] == f"snapsku: not ready yet\n  missing  {missing}"


def test_nothing_is_told_where_no_api_runs(api: Api) -> None:
    api.answers = [{"status": "ready"}]
    lines: list[str] = []
    with told_when_ready(Settings(port=api.server_port), {"vision": 1}, lines.append):
        time.sleep(0.1)
    assert lines == []


def test_the_places_are_those_that_a_person_opens() -> None:
    chosen = Settings(host=EVERYWHERE, port=8123, flower_port=5556, **NAMED)
    found = places(chosen, NUMBERS)
    assert found == {
        "API": "http://127.0.0.1:8123",
        "reference": "http://127.0.0.1:8123/docs",
        "Flower": f"http://127.0.0.1:5556, password in {chosen.data_dir.resolve()}/flower.password",
        "data": str(chosen.data_dir.resolve()),
        "log": "the output of this command",
    }
    assert "Flower" not in places(chosen, {"api": 1})
    chosen = Settings(host=EVERYWHERE, flower_password="hunter2", **NAMED)
    assert places(chosen, NUMBERS)["Flower"] == "http://127.0.0.1:5555"


def test_an_embedded_database_is_told_to_be_for_trials() -> None:
    assert "for trials" in places(Settings(), NUMBERS)["database"]


def test_among_lines_of_json_it_is_one() -> None:
    line = told(Settings(log_format="json"), "ready", {"API": "http://127.0.0.1:8000"})
    read = json.loads(line)
    assert read.pop("timestamp").endswith("Z")
    assert read == {
        "event": "ready",
        "API": "http://127.0.0.1:8000",
        "logger": "cli.readiness",
        "level": "info",
    }


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        (EVERYWHERE, "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("shop.internal", "http://shop.internal:80"),
    ],
)
def test_a_program_that_listens_everywhere_is_reached_on_loopback(host: str, url: str) -> None:
    assert address_of(host, 80) == url
