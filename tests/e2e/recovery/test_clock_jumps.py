"""The clock of the machine jumps by an hour in the middle of a task, for every process at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import Api
from tests.e2e.recovery.fake_clock import FakeClock
from tests.e2e.recovery.own_work import Work, write_pictures
from tests.e2e.recovery.rows import Rows
from tests.e2e.stack import Stack
from tools.demo.fileserver import serve

HOUR = 3600
FINISH_SECONDS = 240.0
IMAGES = 48


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> FakeClock:
    return FakeClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def own_environment(clock: FakeClock) -> dict[str, str]:
    return clock.environment


@pytest.fixture
def work(own_stack: Stack, tmp_path: Path) -> Iterator[Work]:
    api = Api(own_stack.base_url)
    with serve(write_pictures(tmp_path, IMAGES)) as port:
        yield Work(api, tmp_path, port, FINISH_SECONDS)
    api.close()


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_jump_in_the_middle_of_a_task_costs_nothing(
    clock: FakeClock, own_stack: Stack, work: Work, rows: Rows, step: int
) -> None:
    task_id, image_ids = work.submit(range(IMAGES))
    rows.await_work(task_id, "vision")
    clock.jump(step)
    work.assert_whole(task_id, image_ids)
    assert [row["_id"] for row in rows.chunks(task_id) if row["unclean"]] == []
    own_stack.await_ready()


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
def test_the_chunk_of_a_worker_that_died_just_before_a_jump_is_done_soon(
    clock: FakeClock, own_stack: Stack, work: Work, rows: Rows, step: int
) -> None:
    task_id, image_ids = work.submit(range(IMAGES))
    rows.await_work(task_id, "vision")
    own_stack.kill("vision")
    clock.jump(step)
    own_stack.start("vision")
    work.assert_whole(task_id, image_ids)
    own_stack.await_ready()
    told = "leases were extended" if step > 0 else "the clock was set back"
    assert told in own_stack.log("maintenance")
