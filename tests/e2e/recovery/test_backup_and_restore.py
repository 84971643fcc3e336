"""A backup of a stack that runs, restored where nothing is: every answer is the same there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from cli.processes import ROOT
from config.embedded import embedded_servers
from config.settings import Settings
from tests.e2e.client import Api, as_base64, ids
from tests.e2e.stack import Stack, clean_environment
from tools.demo.manifest import load
from tools.demo.queries import make_queries

MANIFEST = load()
QUERIES = make_queries(MANIFEST)
PRODUCTS = list(MANIFEST.first_images())
HALF = len(PRODUCTS) // 2
STORES = {"上半店": PRODUCTS[:HALF], "下半店": PRODUCTS[HALF:]}


#: Work that was under way goes on with a sweep. Other times stay as they are: a busy machine must
#: not take a slow stage for a dead one.
SETTINGS = {
    "collections_per_user": "0",
    "fetch_allow": "127.0.0.1",
    "sweep_seconds": "2",
    "chunk_images": "8",
    "torch_threads": "1",
    "vision_niceness": "0",
}

#: The kind of process without which no task comes to its end.
HELD_BACK = "vision"

SEARCHES_SECONDS = 60.0
INGEST_SECONDS = 180.0


@contextmanager
def run_stack(
    data_dir: Path, logs: Path, without: str = "", **settings: str
) -> Iterator[tuple[Stack, Api]]:
    logs.mkdir()
    stack = Stack(data_dir, logs, **settings)
    stack.start(*(kind for kind in stack.kinds if kind != without))
    api = Api(stack.base_url)
    try:
        yield stack, api
    finally:
        api.close()
        stack.stop()


def await_searches(api: Api) -> None:
    """Wait until every set is ready, which /readyz does not say of a stack without vision."""
    deadline = time.monotonic() + SEARCHES_SECONDS
    for name in STORES:
        body = {"collection_name": name, "image_content": as_base64(QUERIES[0].content)}
        while time.monotonic() < deadline:
            try:
                if api.post("/v1/product_search", body).json()["code"] == "10000":
                    break
            except requests.ConnectionError:
                pass
            time.sleep(0.3)
        else:
            raise AssertionError(f"no search is answered in {name}")


def snapsku(environment: dict[str, str], *arguments: object) -> str:
    """Run the command; return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def answers(api: Api, tasks: list[str]) -> dict[str, Any]:
    """Everything that a client can ask."""
    told: dict[str, Any] = {"collections": api.ok("list_collections")}
    for name, products in STORES.items():
        told[f"products of {name}"] = api.ok("list_products", collection_name=name, limit=200)
        for product_id in products:
            told[f"images of {product_id}"] = api.call(
                "image_info", collection_name=name, product_id=product_id
            )
        for query in QUERIES:
            told[f"{query.query_id} in {name}"] = api.ok(
                "product_search", collection_name=name, image_content=as_base64(query.content)
            )
    for task_id in tasks:
        told[task_id] = api.ok("task_status", task_id=task_id)
    told["tasks"] = api.ok("list_tasks", limit=200)["task_list"]
    return told


def fill(api: Api) -> list[str]:
    """Put the samples into two collections, and delete an image and a product; return the tasks."""
    tasks = []
    for name, products in STORES.items():
        samples = [image for image in MANIFEST.images if image.product_id in products]
        api.create(name, samples)
        tasks.append(api.add_samples(name, samples))
    for task_id in tasks:
        assert api.finish(task_id, INGEST_SECONDS)["failed_list"] == []
    name, products = next(iter(STORES.items()))
    image = MANIFEST.first_images()[products[0]]
    api.ok(
        "delete_image",
        collection_name=name,
        image_id_list=[{"product_id": image.product_id, "image_id": image.image_id}],
    )
    api.ok("delete_product", collection_name=name, product_id_list=[products[1]])
    return tasks


@pytest.mark.timeout(600)
def test_a_backup_restored_elsewhere_gives_the_same_answers_and_ends_its_work(
    servers: Any, tmp_path: Path, file_server: str
) -> None:
    file = tmp_path / "snapsku.zip"
    name, products = list(STORES.items())[-1]
    picture = MANIFEST.first_images()[PRODUCTS[0]]
    with run_stack(
        tmp_path / "first",
        tmp_path / "first-logs",
        mongo_url=servers.mongo_url,
        redis_url=servers.redis_url.replace("/0", "/3"),
        mongo_database=f"snapsku_backup_{os.getpid()}",
        **SETTINGS,
    ) as (stack, api):
        stack.await_ready()
        tasks = fill(api)
        stack.processes[HELD_BACK].terminate()
        assert stack.processes[HELD_BACK].wait(40) == 0
        under_way = api.add(
            name,
            [
                {
                    "product_id": products[0],
                    "image_id": "late",
                    "image_content": as_base64(picture.path),
                },
                {
                    "product_id": products[1],
                    "image_id": "late, by URL",
                    "image_content": f"{file_server}/{picture.path.name}",
                },
            ],
        )
        tasks.append(under_way)
        before = answers(api, tasks)
        told = snapsku(stack.environment, "backup", file)
    assert "2 collections" in told
    assert "2 images on their way" in told
    assert "left out" not in told
    assert before[under_way]["task_status"] == "PROCESSING"

    fresh = tmp_path / "second"
    environment = clean_environment(data_dir=str(fresh))
    assert snapsku(environment, "restore", file).startswith("restored: 2 collections")
    settings = Settings(data_dir=fresh, mongo_url=SecretStr(""), redis_url=SecretStr(""))
    with (
        embedded_servers(settings),
        run_stack(fresh, tmp_path / "second-logs", HELD_BACK, **SETTINGS) as (stack, api),
    ):
        await_searches(api)
        after = answers(api, tasks)
        assert after.keys() == before.keys()
        for question, answer in before.items():
            assert after[question] == answer, question
        stack.start(HELD_BACK)
        ended = api.finish(under_way, INGEST_SECONDS)
        assert sorted(ids(ended["succeeded_list"])) == ["late", "late, by URL"]
