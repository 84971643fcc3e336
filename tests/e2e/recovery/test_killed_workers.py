"""kill -9 of a worker in the middle of a task costs time and nothing else."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from pymongo import MongoClient

from tests.e2e.client import Api, as_base64, ids
from tests.e2e.recovery.rows import Rows
from tests.e2e.stack import Stack, await_end
from tools.demo.fileserver import HOST, QuietHandler
from tools.demo.manifest import SAMPLES, load

MANIFEST = load()
#: One of each product's pictures.
IMAGES = list(MANIFEST.first_images().values())[:48]
BY_BASE64 = 16
#: The first ask for this one is turned away, so that the task needs the sweep as well.
BUSY_FOR = IMAGES[-1].path.name


class SlowServer(ThreadingHTTPServer):
    """The sample pictures, each after a while."""

    daemon_threads = True

    def __init__(self, pause: float) -> None:
        super().__init__((HOST, 0), SlowHandler)
        self.pause = pause
        self.turned_away: set[str] = set()


class SlowHandler(QuietHandler):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, directory=str(SAMPLES / "products"))

    def do_GET(self) -> None:  # noqa: N802
        assert isinstance(self.server, SlowServer)
        time.sleep(self.server.pause)
        name = Path(self.path).name
        if name == BUSY_FOR and name not in self.server.turned_away:
            self.server.turned_away.add(name)
            self.send_error(503)
            return
        super().do_GET()


@pytest.fixture
def slow_server() -> Iterator[str]:
    with SlowServer(0.15) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://{HOST}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def rows(servers: Any) -> Iterator[Rows]:
    """To see at which moment a kill meets the middle of the work."""
    with MongoClient[dict[str, Any]](servers.mongo_url) as client:
        yield Rows(client, "snapsku_e2e")


def _submit(api: Api, collection: str, slow_server: str) -> str:
    api.create(collection, IMAGES)
    return api.add(
        collection,
        [
            {
                "product_id": sample.product_id,
                "image_id": sample.image_id,
                "image_content": (
                    as_base64(sample.path)
                    if number < BY_BASE64
                    else f"{slow_server}/{sample.path.name}"
                ),
            }
            for number, sample in enumerate(IMAGES)
        ],
    )


def _assert_whole(api: Api, collection: str, task_id: str) -> None:
    status = api.finish(task_id)
    expected = sorted(sample.image_id for sample in IMAGES)
    assert status["failed_list"] == []
    assert sorted(ids(status["succeeded_list"])) == expected
    for sample in IMAGES:
        # The client itself sees to it that no image comes twice.
        found = api.search(collection, sample.path, topk=200)
        assert found[0]["image_id"] == sample.image_id
        assert found[0]["similarity"] >= 0.999
        assert sorted(ids(found)) == expected


@pytest.mark.parametrize("kind", ["fetch", "vision", "index"])
def test_a_stage_that_is_killed_at_work_loses_and_doubles_nothing(
    api: Api, stack: Stack, collection: str, slow_server: str, rows: Rows, kind: str
) -> None:
    task_id = _submit(api, collection, slow_server)
    rows.await_work(task_id, kind)
    orphans = stack.kill(kind)
    assert api.ok("task_status", task_id=task_id)["task_status"] == "PROCESSING"
    stack.start(kind)
    _assert_whole(api, collection, task_id)
    assert await_end(orphans, 100) == [], "a child outlives its killed parent"
    stack.await_ready()


def test_a_task_ends_though_the_sweep_is_killed_meanwhile(
    api: Api, stack: Stack, collection: str, slow_server: str
) -> None:
    task_id = _submit(api, collection, slow_server)
    time.sleep(1)
    stack.kill("maintenance")
    stack.kill("beat")
    time.sleep(1)
    assert api.ok("task_status", task_id=task_id)["task_status"] == "PROCESSING"
    stack.start("maintenance", "beat")
    _assert_whole(api, collection, task_id)
    stack.await_ready()


def test_a_killed_search_worker_costs_its_search_alone(
    api: Api, stack: Stack, collection: str, slow_server: str
) -> None:
    task_id = _submit(api, collection, slow_server)
    body = {"collection_name": collection, "image_content": as_base64(IMAGES[0].path)}
    answers: list[tuple[int, str]] = []
    over = threading.Event()

    def search() -> None:
        client = Api(stack.base_url)
        while not over.is_set():
            # Fails the test where there is no answer in a minute.
            response = client.post("/v1/product_search", body)
            answers.append((response.status_code, response.json()["code"]))
            # Searches without a rest would leave the vision worker, which gives way, no time.
            over.wait(0.3)
        client.close()

    searching = threading.Thread(target=search)
    searching.start()
    try:
        time.sleep(1)
        before = len(answers)
        orphans = stack.kill("search")
        time.sleep(1)
        stack.start("search")
        ended = len(answers)
        deadline = time.monotonic() + 120
        while (200, "10000") not in answers[ended:]:
            assert time.monotonic() < deadline, stack.log("search")[-2000:]
            time.sleep(0.1)
        _assert_whole(api, collection, task_id)
        time.sleep(0.5)
    finally:
        over.set()
        searching.join()
    assert before, "no search was answered before the kill, so nothing was shown"
    assert set(answers) <= {(200, "10000"), (503, "10020")}
    assert answers[-1][0] == 200
    assert await_end(orphans, 100) == [], "a child outlives its killed parent"
    stack.await_ready()


def test_a_killed_api_is_back_at_once_though_clients_keep_their_connections(
    api: Api, stack: Stack
) -> None:
    over = threading.Event()

    def keep_asking() -> None:
        with requests.Session() as session:
            while not over.is_set():
                with contextlib.suppress(requests.ConnectionError):
                    session.get(f"{stack.base_url}/healthz", timeout=5)
                over.wait(0.05)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        orphans = stack.kill("api")
        stack.start("api")
        deadline = time.monotonic() + 100
        while not _answers_from(stack):
            assert time.monotonic() < deadline, stack.log("api")[-2000:]
            time.sleep(0.1)
        assert await_end(orphans, 100) == [], "a child outlives its killed parent"
    finally:
        over.set()
        asking.join()
    stack.await_ready()


def _answers_from(stack: Stack) -> bool:
    """Return whether the new parent listens: the old one's child can't bind."""
    parent = stack.processes["api"]
    assert parent.poll() is None, stack.log("api")[-2000:]
    listening = [c for c in psutil.Process(parent.pid).net_connections() if c.status == "LISTEN"]
    return bool(listening) and requests.get(f"{stack.base_url}/healthz", timeout=5).ok
