"""Every process has a wall clock of its own, up to 25 s before or after that of the servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.client import Api, ids
from tests.e2e.recovery.fake_clock import clock_off
from tests.e2e.recovery.own_work import Work, write_pictures
from tests.e2e.recovery.rows import Rows
from tests.e2e.stack import Stack
from tools.demo.fileserver import serve

FINISH_SECONDS = 240.0
IMAGES = 48

#: Each further from its partner than a lease of 6 s: who sends from who takes, who claims from who
#: sweeps.
SECONDS_AHEAD = {
    "api": -25.0,
    "fetch": 25.0,
    "vision": -22.0,
    "search": 17.0,
    "index": -14.0,
    "maintenance": 23.0,
    "beat": -24.0,
    "flower": 10.0,
}


@pytest.fixture(scope="module")
def environments_of_kinds() -> dict[str, dict[str, str]]:
    return {kind: clock_off(seconds) for kind, seconds in SECONDS_AHEAD.items()}


@pytest.fixture
def api(own_stack: Stack) -> Iterator[Api]:
    found = Api(own_stack.base_url)
    yield found
    found.close()


@pytest.fixture
def work(api: Api, tmp_path: Path) -> Iterator[Work]:
    with serve(write_pictures(tmp_path, IMAGES)) as port:
        yield Work(api, tmp_path, port, FINISH_SECONDS)


def unclean_ends(rows: Rows, task_id: str) -> int:
    return sum(row["unclean"] for row in rows.chunks(task_id))


def test_a_task_ends_is_found_and_is_deleted_from_as_if_the_clocks_agreed(
    own_stack: Stack, api: Api, work: Work, rows: Rows
) -> None:
    task_id, image_ids = work.submit(range(IMAGES))
    work.assert_whole(task_id, image_ids)
    assert unclean_ends(rows, task_id) == 0, "a living worker was taken for dead"
    for kind in ("maintenance", "fetch", "vision", "index"):
        assert "lease ran out" not in own_stack.log(kind)

    work.delete("image-1")
    assert "image-1" not in ids(api.search(work.collection, work.picture(1), topk=IMAGES))


def test_the_chunk_of_a_worker_that_is_killed_is_done_after_its_lease(
    own_stack: Stack, work: Work, rows: Rows
) -> None:
    task_id, image_ids = work.submit(range(IMAGES))
    rows.await_work(task_id, "vision")
    own_stack.kill("vision")
    own_stack.start("vision")
    work.assert_whole(task_id, image_ids)
    unclean = [row["unclean"] for row in rows.chunks(task_id) if row["unclean"]]
    assert unclean == [1], "the chunk in hand, and no other"


def test_each_process_tells_how_far_its_clock_is_off(own_stack: Stack) -> None:
    assert set(own_stack.kinds) == set(SECONDS_AHEAD)
    own_stack.await_ready()
    answer = requests.get(f"{own_stack.base_url}/readyz", timeout=5).json()
    told: dict[str, list[float]] = {}
    for one in answer["processes"]:
        kind = one["process"].partition(" ")[0]
        told.setdefault(kind, []).append(one["clock_offset_seconds"])
    assert told.keys() == SECONDS_AHEAD.keys() - {"beat", "flower"}
    for kind, offsets in told.items():
        assert offsets == [pytest.approx(SECONDS_AHEAD[kind], abs=1.0)] * len(offsets), kind
    assert len(answer["warnings"]) >= len(told)
