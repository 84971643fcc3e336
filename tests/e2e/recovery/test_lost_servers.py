"""Servers that go away, come back empty, or die together with everything: work goes on."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from broker.celery_app import VERSION_HEADER
from broker.queues import PROBE
from tests.e2e.client import Api, as_base64, ids
from tests.e2e.faulty_pictures import DEADLY_SIZE, resized
from tests.e2e.own_servers import OwnServers, kill_everything
from tests.e2e.recovery.embedded_images import Embedded
from tests.e2e.recovery.own_work import Work, write_pictures
from tests.e2e.recovery.rows import Rows
from tests.e2e.stack import Stack, replaced
from tools.demo.fileserver import serve

#: For a run by hand with more of them.
KILLED_IMAGES = int(os.environ.get("TEST_KILLED_IMAGES", "100"))
#: Longer than a lease of 6 s, so that what is under way loses it meanwhile.
REDIS_OUTAGE_SECONDS = 8
MONGO_OUTAGE_SECONDS = 8
FINISH_SECONDS = 240 + KILLED_IMAGES / 4


@pytest.fixture
def own_api(own_stack: Stack) -> Iterator[Api]:
    client = Api(own_stack.base_url)
    yield client
    client.close()
    own_stack.await_ready()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"), max(KILLED_IMAGES, 64))


@pytest.fixture
def work(own_api: Api, pictures: Path) -> Iterator[Work]:
    with serve(pictures) as port:
        yield Work(own_api, pictures, port, FINISH_SECONDS)


def assert_nothing_counted(rows: Rows, task_id: str) -> None:
    assert [row["_id"] for row in rows.chunks(task_id) if row["unclean"]] == []


def test_redis_that_comes_back_empty_in_the_middle_of_a_task(
    own_stack: Stack,
    own_servers: OwnServers,
    own_api: Api,
    rows: Rows,
    work: Work,
) -> None:
    task_id, image_ids = work.submit(range(64))
    rows.await_work(task_id, "vision")
    own_servers.kill("redis")
    own_servers.empty_redis()
    own_servers.start("redis")
    work.assert_whole(task_id, image_ids)
    assert_nothing_counted(rows, task_id)


def test_redis_that_is_away_for_a_while_in_the_middle_of_tasks(
    own_stack: Stack,
    own_servers: OwnServers,
    own_api: Api,
    rows: Rows,
    work: Work,
) -> None:
    done, early = work.submit(range(4))
    work.assert_whole(done, early)
    under_way, first = work.submit(range(4, 32))
    rows.await_work(under_way, "vision")
    own_servers.kill("redis")
    down_at = time.monotonic()
    taken, second = work.submit(range(32, 64))
    assert time.monotonic() - down_at < 50, "submitting waits for nobody"
    started = time.monotonic()
    status = own_api.ok("task_status", task_id=done)
    assert status["task_status"] == "FINISHED", "the rows tell what Redis had told"
    assert sorted(ids(status["succeeded_list"])) == sorted(early)
    work.delete(early[0])
    assert time.monotonic() - started < 80
    while time.monotonic() - down_at < REDIS_OUTAGE_SECONDS:
        started = time.monotonic()
        for task_id, image_ids in ((under_way, first), (taken, second)):
            status = own_api.ok("task_status", task_id=task_id)
            told = [
                n for name in ("succeeded", "failed", "pending") for n in status[f"{name}_list"]
            ]
            assert sorted(ids(told)) == sorted(image_ids)
        assert time.monotonic() - started < 80
        work.assert_search_is_refused_at_once()
    own_servers.start("redis")
    for task_id, image_ids in ((under_way, first), (taken, second)):
        work.assert_whole(task_id, image_ids)
        assert_nothing_counted(rows, task_id)
    own_stack.await_ready()
    for number in (0, 1, 10, 40):
        found = own_api.search(work.collection, work.picture(number), topk=200)
        assert sorted(ids(found)) == sorted([*early[1:], *first, *second])


def test_a_database_that_is_away_for_a_while_in_the_middle_of_tasks(
    own_stack: Stack,
    own_servers: OwnServers,
    own_api: Api,
    rows: Rows,
    work: Work,
) -> None:
    task_id, image_ids = work.submit(range(64))
    rows.await_work(task_id, "vision")
    own_servers.kill("mongo")
    down_at = time.monotonic()
    image = {"product_id": "p", "image_id": "new", "image_content": "http://127.0.0.1:9/x.jpg"}
    for path, body in (
        ("add_image", {"collection_name": work.collection, "image_list": [image]}),
        ("task_status", {"task_id": task_id}),
        (
            "product_search",
            {"collection_name": work.collection, "image_content": as_base64(work.picture(0))},
        ),
    ):
        # Fails where there is no answer in a minute.
        response = own_api.post(f"/v1/{path}", body)
        assert (response.status_code, response.json()["code"]) == (503, "10020"), response.text
        assert response.headers["Retry-After"]
    time.sleep(max(0.0, MONGO_OUTAGE_SECONDS - (time.monotonic() - down_at)))
    own_servers.start("mongo")
    work.assert_whole(task_id, image_ids)
    assert_nothing_counted(rows, task_id)


def test_a_graceful_stop_of_vision_in_the_middle_of_its_work_redoes_little(
    own_stack: Stack,
    own_api: Api,
    rows: Rows,
    work: Work,
) -> None:
    embedded = Embedded(own_stack)
    task_id, image_ids = work.submit(range(64))
    for _ in range(2):
        rows.await_work(task_id, "vision")
        own_stack.processes["vision"].terminate()
        assert own_stack.processes["vision"].wait(30) == 0
        own_stack.start("vision")
    work.assert_whole(task_id, image_ids)
    assert_nothing_counted(rows, task_id)
    assert len(embedded.times()) == len(image_ids)
    assert embedded.twice() == 0


def test_a_picture_that_kills_its_worker_is_given_up_and_its_neighbours_succeed(
    own_stack: Stack,
    own_api: Api,
    rows: Rows,
    work: Work,
    tmp_path: Path,
) -> None:
    numbers = range(8)
    (tmp_path / "deadly.jpg").write_bytes(resized(work.picture(0), *DEADLY_SIZE))
    with replaced(own_stack, "vision", "deadly_vision"):
        own_api.ok(
            "create_product",
            collection_name=work.collection,
            product_list=[{"product_id": "q", "product_name": "Q", "category": "鞋靴"}],
        )
        task_id = own_api.add(
            work.collection,
            [
                {
                    "product_id": "q",
                    "image_id": f"image-{number}",
                    "image_content": as_base64(
                        tmp_path / "deadly.jpg" if number == 3 else work.picture(number)
                    ),
                }
                for number in numbers
            ],
        )
        status = own_api.finish(task_id, 400)
    assert ids(status["failed_list"]) == ["image-3"]
    assert sorted(ids(status["succeeded_list"])) == sorted(
        f"image-{number}" for number in numbers if number != 3
    )
    for number in (2, 4):
        found = own_api.search(work.collection, work.picture(number), topk=1)
        assert found[0]["image_id"] == f"image-{number}"


def test_an_index_process_that_dies_between_shard_and_rows_leaves_each_image_once(
    own_stack: Stack,
    own_api: Api,
    work: Work,
) -> None:
    with replaced(own_stack, "index", "halting_index"):
        task_id, image_ids = work.submit(range(16))
        own_stack.processes["index"].wait(60)
        assert own_api.ok("task_status", task_id=task_id)["succeeded_list"] == []
        own_stack.start("index")
        work.assert_whole(task_id, image_ids)
        # The client itself sees to it that no image comes twice.
        assert len(own_api.search(work.collection, work.picture(0), topk=200)) == len(image_ids)


def test_messages_of_an_old_release_are_dropped_and_their_work_is_sent_anew(
    own_stack: Stack,
    own_servers: OwnServers,
    own_api: Api,
    work: Work,
) -> None:
    own_stack.processes["fetch"].terminate()
    own_stack.processes["fetch"].wait(40)
    task_id, image_ids = work.submit(range(16))
    with redis.Redis.from_url(own_servers.redis_url) as broker:
        assert broker.llen("fetch") > 0
        for _ in range(broker.llen("fetch")):
            message = json.loads(broker.rpop("fetch"))
            if message["headers"]["task"] == PROBE:
                continue  # sent by beat meanwhile
            (chunk, attempt), keywords, options = json.loads(base64.b64decode(message["body"]))
            body = [[chunk, attempt, "of an old release"], keywords, options]
            message["body"] = base64.b64encode(json.dumps(body).encode()).decode()
            message["headers"][VERSION_HEADER] = 0
            broker.lpush("fetch", json.dumps(message))
    own_stack.start("fetch")
    work.assert_whole(task_id, image_ids)
    assert "message of another version dropped" in own_stack.log("fetch")


@pytest.mark.timeout(FINISH_SECONDS + 200)
def test_everything_killed_at_once_and_one_restart_end_the_task_and_redo_nothing_written(
    own_stack: Stack,
    own_servers: OwnServers,
    own_api: Api,
    rows: Rows,
    work: Work,
) -> None:
    embedded = Embedded(own_stack)
    already = rows.vectors()
    task_id, image_ids = work.submit(range(KILLED_IMAGES), by_url=True)
    started = time.monotonic()
    rows.await_vectors(len(already) + KILLED_IMAGES * 2 // 5, FINISH_SECONDS)
    kill_everything(own_stack, own_servers)
    killed_at = time.monotonic()
    own_servers.start()
    written = rows.vectors() - already
    before = embedded.times()
    ended = len(ended_labels(rows, task_id))
    assert len(written) < KILLED_IMAGES, "the kill came too late to show anything"
    own_stack.start()
    own_stack.await_ready()
    work.assert_whole(task_id, image_ids)
    finished_at = time.monotonic()
    times = embedded.times()
    after = times - before
    print(
        f"\n{KILLED_IMAGES} images: killed after {killed_at - started:.1f} s with "
        f"{len(written)} vectors written and {ended} images ended, finished "
        f"{finished_at - killed_at:.1f} s after the kill; embedded before {before.total()}, "
        f"after {after.total()}, twice {embedded.twice()}, of those written again "
        f"{len(written & after.keys())}"
    )
    assert written & after.keys() == set(), "embedded again though their vectors were written"
    assert len(rows.vectors() - already) == KILLED_IMAGES


def ended_labels(rows: Rows, task_id: str) -> list[int]:
    """The labels of the task's chunks that were done at the kill."""
    return [
        item[0] for row in rows.chunks(task_id) if row["state"] == "done" for item in row["items"]
    ]
