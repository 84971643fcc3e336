"""What an operator relies on: readiness, logs, Flower, the doctor, and a stop in the middle."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import requests
from celery import Celery
from kombu import Exchange, Queue

from broker.celery_app import VERSION_HEADER
from broker.queues import PROBE, QUEUES
from cli.processes import ROOT
from config.embedded import free_port
from tests.e2e.client import Api, as_base64, collection_name, ids
from tests.e2e.stack import Stack, running
from tests.servers import Servers
from tools.demo.manifest import load

IMAGES = list(load().first_images().values())[:6]
STALLED_SECONDS = 6.0
FLOWER = ("operator", "hunter2")


@pytest.fixture(scope="module")
def redis_url(servers: Servers) -> str:
    """A logical database of this stack's own, away from the queues of the shared one."""
    return f"{servers.redis_url.rpartition('/')[0]}/7"


@pytest.fixture(scope="module")
def operated(
    servers: Servers,
    redis_url: str,
    short_times: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """A stack with JSON logs, a password for Flower, and times short enough to see it stall."""
    stack = Stack(
        servers.data_dir / "operated",
        tmp_path_factory.mktemp("operated"),
        mongo_url=servers.mongo_url,
        redis_url=redis_url,
        mongo_database="snapsku_operated",
        log_format="json",
        flower_user=FLOWER[0],
        flower_password=FLOWER[1],
        probe_seconds="1",
        stalled_seconds=str(STALLED_SECONDS),
        **short_times,
    )
    with running(stack):
        yield stack


@pytest.fixture
def operator_api(operated: Stack) -> Iterator[Api]:
    client = Api(operated.base_url)
    yield client
    client.close()


def await_readiness(stack: Stack, status: int, seconds: float) -> dict[str, Any]:
    """Return the answer of /readyz once its status is `status`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        response = requests.get(f"{stack.base_url}/readyz", timeout=60)
        if response.status_code == status:
            answer: dict[str, Any] = response.json()
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not {status} after {seconds} s: {response.text}")


@pytest.mark.parametrize("kind", ["fetch", "search", "index"])
def test_a_worker_that_stands_still_makes_the_service_unready_until_it_goes_on(
    operated: Stack, kind: str
) -> None:
    answer = await_readiness(operated, 200, 10 * STALLED_SECONDS)
    assert set(answer["consumed_seconds_ago"]) == set(QUEUES)
    queues = {"index", "neighbours"} if kind == "index" else {kind}
    process = operated.processes[kind]
    process.send_signal(signal.SIGSTOP)
    try:
        await_readiness(operated, 503, 10 * STALLED_SECONDS)
        # Both queues of a process stall within a probe of each other.
        time.sleep(3)
        answer = await_readiness(operated, 503, 10)
        assert requests.get(f"{operated.base_url}/healthz", timeout=5).status_code == 200
    finally:
        process.send_signal(signal.SIGCONT)
    assert sorted(answer["faults"]) == [f"queue {q} is not consumed" for q in sorted(queues)]
    for queue, age in answer["consumed_seconds_ago"].items():
        assert (age > STALLED_SECONDS) == (queue in queues), answer
    await_readiness(operated, 200, 50)


def test_a_search_that_runs_when_the_api_is_stopped_is_answered(
    operated: Stack, operator_api: Api, redis_url: str
) -> None:
    name = collection_name()
    operator_api.create(name, IMAGES)
    operator_api.finish(operator_api.add_samples(name, IMAGES))
    answers: list[requests.Response] = []

    def search() -> None:
        body = {"collection_name": name, "image_content": as_base64(IMAGES[0].path)}
        answers.append(
            requests.post(f"{operated.base_url}/v1/product_search", json=body, timeout=30)
        )

    searcher = threading.Thread(target=search)
    operated.processes["search"].send_signal(signal.SIGSTOP)
    try:
        with redis.Redis.from_url(redis_url) as client:
            searcher.start()
            deadline = time.monotonic() + 50
            while not client.keys("query:*"):
                assert time.monotonic() < deadline, "the search did not begin"
                time.sleep(0.02)
        api = operated.processes["api"]
        api.terminate()
        time.sleep(1.5)
        assert api.poll() is None
        assert answers == []
        # Refused, or left waiting in the socket's queue; not served any more.
        with pytest.raises(requests.RequestException):
            requests.get(f"{operated.base_url}/healthz", timeout=2)
    finally:
        operated.processes["search"].send_signal(signal.SIGCONT)
    searcher.join(20)
    assert api.wait(30) == 0
    (answer,) = answers
    assert answer.json()["code"] == "10000", answer.text
    assert ids(answer.json()["result"]["images"])[0] == IMAGES[0].image_id
    operated.start("api")
    operated.await_ready()


def lines_of(stack: Stack, kind: str) -> list[dict[str, Any]]:
    """The log lines of a process, each of which must be an object of JSON."""
    lines = []
    for line in stack.log(kind).splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            raise AssertionError(f"{kind} wrote {line[:300]!r}") from error
    return lines


def test_a_message_of_another_version_is_dropped_by_a_worker(
    operated: Stack, redis_url: str
) -> None:
    queue = Queue("maintenance", Exchange("snapsku"), routing_key="maintenance")
    with Celery("newer", broker=redis_url, set_as_current=False) as newer:
        newer.send_task(PROBE, args=("x",), queue=queue, headers={VERSION_HEADER: 99})
    deadline = time.monotonic() + 60
    dropped: list[dict[str, Any]] = []
    while not dropped and time.monotonic() < deadline:
        time.sleep(0.2)
        dropped = [
            line
            for line in lines_of(operated, "maintenance")
            if line["event"] == "message of another version dropped"
        ]
    (line,) = dropped
    assert (line["version"], line["task"]) == (99, PROBE)


def test_log_lines_are_json_with_ids_and_without_secrets(
    operated: Stack, operator_api: Api, file_server: str
) -> None:
    name = collection_name()
    operator_api.create(name, IMAGES[:3])
    good, broken, refusing = IMAGES[:3]
    urls = {
        good: f"{file_server}/{good.path.name}?token=s3cret",
        broken: f"{file_server}/nothing.jpg?token=s3cret",
        refusing: f"http://127.0.0.1:{free_port()}/x.jpg?token=s3cret",
    }
    task_id = operator_api.add(
        name,
        [
            {"product_id": n.product_id, "image_id": n.image_id, "image_content": url}
            for n, url in urls.items()
        ],
    )
    status = operator_api.finish(task_id)
    assert ids(status["succeeded_list"]) == [good.image_id]
    response = requests.post(
        f"{operated.base_url}/v1/product_search?token=s3cret",
        json={"collection_name": name, "image_content": as_base64(good.path)},
        timeout=20,
    )
    assert response.json()["result"]["code"] == 0, response.text

    picture = as_base64(good.path)
    secrets = ["s3cret", FLOWER[1], *(picture[n : n + 40] for n in (0, 400, len(picture) // 2))]
    by_kind = {kind: lines_of(operated, kind) for kind in operated.kinds}
    for kind in operated.kinds:
        text = operated.log(kind)
        for secret in secrets:
            assert secret not in text, (kind, secret)

    request_id = response.headers["X-Request-Id"]
    (answered,) = [line for line in by_kind["api"] if line.get("request_id") == request_id]
    assert (answered["event"], answered["path"]) == ("answered", "/v1/product_search")
    assert {"/healthz", "/readyz"} & {line.get("path") for line in by_kind["api"]} == set()
    assert "gunicorn.error" in {line["logger"] for line in by_kind["api"]}

    failed = [line for line in by_kind["fetch"] if line["event"] == "fetch failed for now"]
    assert failed
    for line in failed:
        assert line["task_id"] == task_id
        assert line["stage"] == "fetch"
        assert line["chunk"]
        assert line["attempt"] >= 1
        assert isinstance(line["label"], int)


def test_flower_shows_chunks_in_words_and_nothing_else(operated: Stack) -> None:
    query: dict[str, str | int] = {
        "draw": 1,
        "start": 0,
        "length": 500,
        "search[value]": "",
        "order[0][column]": 0,
        "columns[0][data]": "name",
        "order[0][dir]": "asc",
    }
    url = f"{operated.flower_url}/tasks/datatable"
    assert requests.get(url, params=query, timeout=10).status_code == 401
    shown = requests.get(url, params=query, auth=FLOWER, timeout=10).json()["data"]
    stages = [task for task in shown if task["name"] in ("workers.vision", "workers.index")]
    assert stages
    for task in stages:
        chunk_id, attempt, stage = task["uuid"].rsplit(".", 2)
        assert task["args"] == f"{chunk_id}, {attempt}"
        assert task["name"] == f"workers.{stage}"
    assert "(not shown)" not in {task["args"] for task in shown}


def test_the_doctor_finds_a_running_stack_well(operated: Stack) -> None:
    await_readiness(operated, 200, STALLED_SECONDS)
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", "--model"],
        cwd=ROOT,
        env=operated.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("OK ") for line in lines)
    processes = [found[1] for line in lines if (found := re.match(r"OK +(\w+) process \d", line))]
    assert len(lines) - len(processes) == 15 + len(QUEUES)
    assert set(processes) >= {"api", "fetch", "vision", "search", "index", "maintenance"}
    assert FLOWER[1] not in done.stdout
