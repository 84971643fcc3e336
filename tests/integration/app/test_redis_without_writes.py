"""A Redis that answers and takes no writes: full, a replica, or stopped by a fault of its own."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from app.server import OPERATIONS
from broker.availability import WritesStoppedError, refusal_of_writes
from broker.queues import QUEUES
from broker.search_exchange import Exchange
from catalog.rows.chunks import State
from catalog.store import Catalog
from config.embedded import free_port, valkey_command
from tests.integration.app.api_in_process import Serve, result

#: Operations in an order in which their examples can be run.
ORDER = [
    *("create_product", "update_product", "list_products", "list_collections", "add_image"),
    *("task_status", "list_tasks", "image_info", "update_image", "delete_image"),
    *("delete_product", "delete_collection"),
]


@contextmanager
def full(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


@contextmanager
def replica(client: redis.Redis) -> Iterator[None]:
    client.replicaof("127.0.0.1", free_port())
    try:
        yield
    finally:
        client.replicaof("NO", "ONE")


@contextmanager
def alone(client: redis.Redis) -> Iterator[None]:
    """Let the server stop writes as it does after a save that failed."""
    client.config_set("min-replicas-to-write", 1)
    try:
        yield
    finally:
        client.config_set("min-replicas-to-write", 0)


#: A way in which Redis refuses writes, and what is said of it.
REFUSALS = [
    pytest.param(full, "out of memory, maxmemory is reached", id="full"),
    pytest.param(replica, "it is a read-only replica", id="replica"),
    pytest.param(alone, "Not enough good replicas to write.", id="stopped"),
]

Refuse = Callable[[redis.Redis], Any]


@pytest.mark.parametrize(("refuse", "why"), REFUSALS)
def test_readyz_tells_at_the_next_look_that_redis_takes_no_writes_and_why(
    catalog: Catalog, redis_client: redis.Redis, serve: Serve, refuse: Refuse, why: str
) -> None:
    client = serve()
    fault = f"Redis takes no writes: {why}"
    with refuse(redis_client):
        began = time.monotonic()
        answer = client.get("/readyz")
        assert time.monotonic() - began < 20
        assert answer.status_code == 503
        assert fault in answer.get_json()["faults"]
        assert set(answer.get_json()["consumed_seconds_ago"]) == set(QUEUES)
    assert fault not in client.get("/readyz").get_json()["faults"]


@pytest.mark.parametrize(("refuse", "why"), REFUSALS)
def test_every_operation_but_a_search_goes_on_while_redis_takes_no_writes(
    catalog: Catalog, redis_client: redis.Redis, serve: Serve, refuse: Refuse, why: str
) -> None:
    client = serve()
    by_name = {operation.name: operation for operation in OPERATIONS}
    assert {*ORDER, "product_search"} == set(by_name)
    task_id = ""
    with refuse(redis_client):
        for name in ORDER:
            body = {**by_name[name].example.request}
            if name == "task_status":
                body["task_id"] = task_id
            if name in ("update_image", "delete_image"):
                catalog.images.succeed(waiting_labels(catalog, task_id))
            found = result(client, name, **body)
            assert found["code"] == 0, (name, found)
            task_id = found.get("task_id", task_id)
    # What could not be sent waits for the sweep.
    assert [chunk.state for chunk in chunks_of(catalog, task_id)] == [State.WAITING]


def chunks_of(catalog: Catalog, task_id: str) -> list[Any]:
    task = catalog.tasks.find(task_id)
    assert task is not None
    return catalog.chunks.find(task.chunk_ids)


def waiting_labels(catalog: Catalog, task_id: str) -> list[int]:
    return [label for chunk in chunks_of(catalog, task_id) for label in chunk.labels]


def assert_busy(client: FlaskClient) -> None:
    example = next(each.example for each in OPERATIONS if each.name == "product_search")
    answer = client.post("/v1/product_search", json=example.request)
    assert answer.status_code == 503
    assert answer.get_json()["code"] == "10020"
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(("refuse", "why"), REFUSALS)
def test_a_search_is_busy_while_redis_takes_no_writes(
    catalog: Catalog, redis_client: redis.Redis, serve: Serve, refuse: Refuse, why: str
) -> None:
    client = serve()
    example = next(each.example for each in OPERATIONS if each.name == "create_product")
    result(client, "create_product", **example.request)
    with refuse(redis_client):
        assert_busy(client)


@pytest.mark.parametrize(("refuse", "why"), REFUSALS)
def test_a_search_is_busy_where_redis_stops_taking_writes_once_it_has_the_picture(
    catalog: Catalog,
    redis_client: redis.Redis,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    refuse: Refuse,
    why: str,
) -> None:
    client = serve()
    example = next(each.example for each in OPERATIONS if each.name == "create_product")
    result(client, "create_product", **example.request)
    with monkeypatch.context() as patch, refuse(redis_client):
        patch.setattr(Exchange, "leave", lambda *_: None)
        assert_busy(client)


def test_an_answer_that_came_is_not_lost_where_redis_takes_no_writes_any_more(
    redis_client: redis.Redis,
) -> None:
    exchange = Exchange(redis_client)
    exchange.reply("q", {"images": []})
    assert exchange.wait("q", 1) == {"images": []}
    with replica(redis_client):
        exchange.forget("q")


def test_a_server_whose_save_failed_is_told(tmp_path: Path) -> None:
    port = free_port()
    command = [*valkey_command(tmp_path, port), "--appendonly", "no", "--save", "900 1"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            await_answer(client)
            assert refusal_of_writes(client) is None
            shutil.rmtree(command[command.index("--dir") + 1])
            client.bgsave()
            while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
                time.sleep(0.01)
            why = refusal_of_writes(client)
            assert why is not None
            assert "unable to persist to disk" in why
            with pytest.raises(WritesStoppedError):
                Exchange(client).leave("q", {"picture": b"x"}, 3)
    finally:
        server.kill()
        server.wait(10)


def await_answer(client: redis.Redis) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            client.ping()
        except redis.ConnectionError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("the server did not come up")
