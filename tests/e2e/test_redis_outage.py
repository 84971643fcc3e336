"""Without Redis the service still takes pictures and tells of tasks, and catches up later."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from e2e_client import Api, as_base64, ids
from pydantic import SecretStr
from stack import Stack

from config.embedded import embedded_servers, valkey_command
from config.endpoints import read_endpoints
from config.settings import Settings
from demo.manifest import load

MANIFEST = load()
IMAGES = list(MANIFEST.first_images().values())[:12]


@dataclass
class OwnRedis:
    """An embedded Valkey that a test may end and start again where it was."""

    data_dir: Path
    url: str
    running: dict[str, subprocess.Popen[bytes]]

    def end(self) -> None:
        self.running["redis"].send_signal(signal.SIGKILL)
        self.running["redis"].wait()

    def start(self) -> None:
        port = urlsplit(self.url).port
        assert port is not None
        self.running["redis"] = subprocess.Popen(
            valkey_command(self.data_dir, port),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


@pytest.fixture
def own_redis(servers: Any, tmp_path: Path) -> Iterator[OwnRedis]:
    data_dir = tmp_path / "data"
    # Named here, so that no variable of other tests in this process names a Redis.
    settings = Settings(
        data_dir=data_dir, mongo_url=SecretStr(servers.mongo_url), redis_url=SecretStr("")
    )
    with embedded_servers(settings) as running:
        endpoints = read_endpoints(data_dir)
        assert endpoints is not None
        yield OwnRedis(data_dir, endpoints.redis_url, running)


@pytest.fixture
def own_stack(
    servers: Any, own_redis: OwnRedis, tmp_path: Path, short_times: dict[str, str]
) -> Iterator[Stack]:
    """A second stack, whose Redis can go away without harm to other tests."""
    running = Stack(
        tmp_path / "stack",
        tmp_path,
        mongo_url=servers.mongo_url,
        redis_url=own_redis.url,
        mongo_database=f"snapsku_outage_{os.getpid()}",
        **short_times,
    )
    running.start()
    try:
        running.await_ready()
        yield running
    finally:
        running.stop()


def test_pictures_are_taken_while_redis_is_down_and_done_when_it_is_back(
    own_stack: Stack, own_redis: OwnRedis, collection: str, file_server: str
) -> None:
    api = Api(own_stack.base_url)
    early, on_their_way, late = IMAGES[:4], IMAGES[4:8], IMAGES[8:]
    api.create(collection, IMAGES)
    done = api.add_samples(collection, early)
    api.finish(done)
    under_way = api.add_samples(collection, on_their_way)

    own_redis.end()
    started = time.monotonic()
    taken = api.add(
        collection,
        [
            {
                "product_id": sample.product_id,
                "image_id": sample.image_id,
                "image_content": f"{file_server}/{sample.path.name}",
            }
            for sample in late
        ],
    )
    assert time.monotonic() - started < 5
    started = time.monotonic()
    assert sorted(ids(api.ok("task_status", task_id=taken)["pending_list"])) == sorted(
        sample.image_id for sample in late
    )
    finished = api.ok("task_status", task_id=done)
    assert finished["task_status"] == "FINISHED"
    assert sorted(ids(finished["succeeded_list"])) == sorted(s.image_id for s in early)
    api.ok(
        "delete_image",
        collection_name=collection,
        image_id_list=[{"product_id": early[0].product_id, "image_id": early[0].image_id}],
    )
    assert time.monotonic() - started < 8
    body = {"collection_name": collection, "image_content": as_base64(early[0].path)}
    started = time.monotonic()
    response = api.post("/v1/product_search", body)
    assert (response.status_code, response.json()["code"]) == (503, "10020")
    assert response.headers["Retry-After"]
    assert time.monotonic() - started < 5

    own_redis.start()
    for task_id, samples in ((under_way, on_their_way), (taken, late)):
        status = api.finish(task_id, 60)
        assert sorted(ids(status["succeeded_list"])) == sorted(s.image_id for s in samples)
    own_stack.await_ready()
    expected = sorted(sample.image_id for sample in IMAGES[1:])
    for sample in IMAGES:
        assert sorted(ids(api.search(collection, sample.path))) == expected
    api.close()
