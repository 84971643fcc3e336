"""What Flower's pages show of real workers and of what beat sends."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from broker.celery_app import app
from broker.messages import send_chunks
from broker.queues import PROBE, QUEUES
from broker.reports.heartbeats import Consumption
from catalog.store import Catalog
from cli.processes import ROOT
from config.settings import settings
from tests.integration.operations.programs import command, environment
from tests.integration.running_flower import running_flower
from tests.integration.workers.counting_files import serving
from tests.integration.workers.waiting import until

CREDENTIALS = ("operator", "hunter2")
START_SECONDS = 60.0


def locked_flower(tmp_path: Path) -> AbstractContextManager[str]:
    """The address of a running Flower, which wants CREDENTIALS."""
    return running_flower(
        tmp_path,
        redis_url=settings().redis_url.get_secret_value(),
        flower_user=CREDENTIALS[0],
        flower_password=CREDENTIALS[1],
    )


@pytest.fixture
def flower(redis_client: redis.Redis, tmp_path: Path) -> Iterator[str]:
    with locked_flower(tmp_path) as url:
        yield url


@contextmanager
def running(kind: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a line of the Procfile with the settings of this process and a probe a second."""
    with (folder / f"{kind}.log").open("wb") as log:
        process = subprocess.Popen(
            command(kind),
            cwd=ROOT,
            env={
                **os.environ,
                "PATH": environment(folder)["PATH"],
                "SNAPSKU_PROBE_SECONDS": "1",
                "SNAPSKU_SWEEP_SECONDS": "1",
            },
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def read(url: str, **query: str | int) -> requests.Response:
    found = requests.get(url, params=query, auth=CREDENTIALS, timeout=10)
    assert found.status_code == 200, found.text
    return found


def shown_tasks(flower: str) -> list[dict[str, Any]]:
    """The rows of the page Tasks, as the page itself asks for them."""
    query: dict[str, str | int] = {
        "draw": 1,
        "start": 0,
        "length": 500,
        "order[0][column]": 0,
        "columns[0][data]": "name",
        "order[0][dir]": "asc",
    }
    rows: list[dict[str, Any]] = read(f"{flower}/tasks/datatable", **query).json()["data"]
    return rows


def shown_workers(flower: str) -> dict[str, bool]:
    """The rows of the page Workers: whether each lives."""
    rows = read(f"{flower}/workers", json=1).json()["data"]
    return {row["hostname"]: row["status"] for row in rows}


def consumed(client: redis.Redis, *queues: str) -> bool:
    return all(age is not None for age in Consumption(client, 30).ages(queues).values())


def test_every_queue_is_shown_though_one_worker_alone_was_there_at_the_start(
    redis_client: redis.Redis, catalog: Catalog, tmp_path: Path
) -> None:
    redis_client.rpush("neighbours", "{}", "{}")
    with running("fetch", tmp_path):
        assert until(lambda: app.control.ping(timeout=0.5) != [], START_SECONDS)
        with locked_flower(tmp_path) as flower:
            assert until(lambda: "active_queues" in read(f"{flower}/api/workers").text, 30)
            page = read(f"{flower}/broker").text
            assert re.findall(r'<tr id="(\w+)">', page) == list(QUEUES)
            lengths = read(f"{flower}/api/queues/length").json()["active_queues"]
    assert {queue["name"]: queue["messages"] for queue in lengths} == {
        **dict.fromkeys(QUEUES, 0),
        "neighbours": 2,
    }


def test_probes_and_background_work_are_not_among_the_tasks(
    redis_client: redis.Redis, catalog: Catalog, flower: str, tmp_path: Path
) -> None:
    with running("fetch", tmp_path), running("maintenance", tmp_path), running("beat", tmp_path):
        assert until(lambda: consumed(redis_client, "fetch", "maintenance"), START_SECONDS)
        # Some more of each, so that Flower would have heard of it.
        redis_client.delete("consumed:fetch", "consumed:maintenance")
        assert until(lambda: consumed(redis_client, "fetch", "maintenance"), 30)
        app.send_task("workers.fetch", ("no-such-chunk", 1), queue="fetch", ignore_result=True)
        assert until(lambda: "SUCCESS" in {task["state"] for task in shown_tasks(flower)}, 30)
        assert {task["name"] for task in shown_tasks(flower)} == {"workers.fetch"}
        assert PROBE not in read(f"{flower}/metrics").text


def test_a_stage_in_which_images_failed_is_shown_as_failed_with_their_number_and_reasons(
    redis_client: redis.Redis, catalog: Catalog, take: Any, flower: str, tmp_path: Path
) -> None:
    with serving() as (files, _), running("fetch", tmp_path):
        failing, good = take("a", "b", url=f"{files}/404"), take("c", url=f"{files}/200")
        send_chunks(catalog, [*failing.chunks, *good.chunks])

        def ended() -> dict[str, dict[str, Any]]:
            return {
                task["uuid"].split(".")[0]: task
                for task in shown_tasks(flower)
                if task["name"] == "workers.fetch" and task["state"] in ("SUCCESS", "FAILURE")
            }

        assert until(lambda: len(ended()) == 2, START_SECONDS), shown_tasks(flower)
        failed = ended()[failing.chunks[0].id]
        assert failed["state"] == "FAILURE"
        assert failed["exception"] == "2 of 2 images failed: 2 BROKEN_BASE64_OR_URL"
        assert ended()[good.chunks[0].id]["state"] == "SUCCESS"
        page = read(f"{flower}/task/{failed['uuid']}").text
        assert "2 of 2 images failed" in page
        assert "Traceback" not in page
    assert "images failed" not in (tmp_path / "fetch.log").read_text("utf-8")


def test_a_dead_worker_stays_visible_as_dead_for_days(
    redis_client: redis.Redis, catalog: Catalog, flower: str, tmp_path: Path
) -> None:
    with running("fetch", tmp_path) as process:
        assert until(lambda: True in shown_workers(flower).values(), START_SECONDS)
        (name,) = shown_workers(flower)
        process.kill()
        assert until(lambda: shown_workers(flower) == {name: False}, 60)
    # One that was last heard of six days ago: Flower goes by the time in its last event.
    with app.connection_for_write() as connection:
        gone = app.events.Dispatcher(connection, hostname="fetch@gone", enabled=True)
        gone.send("worker-online")
        gone.send("worker-offline", timestamp=time.time() - 6 * 24 * 3600)
    assert until(lambda: "fetch@gone" in shown_workers(flower), 30)
    assert shown_workers(flower) == {name: False, "fetch@gone": False}
