"""Answers that never wait for the work itself: their times are printed, with wide bounds."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

from tests.e2e.client import Api, collection_name
from tools.demo.manifest import load

MANIFEST = load()
CALLS = 16

IMAGES_PER_CALL = 200
POLLS_PER_CALL = 4

#: Seconds: ten times what two idle cores keep below. How fast a machine is, is a matter of a
#: benchmark; an answer that waits for the work takes longer than these, too.
ADD_MEDIAN, ADD_95TH, POLL_MEDIAN = 3.0, 8.0, 0.5


def _images(call: int, file_server: str) -> list[dict[str, Any]]:
    """One image of each product, never the same picture twice in one."""
    return [
        {
            "product_id": f"p-{number}",
            "image_id": f"i-{call}-{number}",
            "image_content": (
                f"{file_server}/{MANIFEST.images[(call + number) % len(MANIFEST.images)].path.name}"
            ),
        }
        for number in range(IMAGES_PER_CALL)
    ]


def _timed(api: Api, operation: str, **body: Any) -> tuple[dict[str, Any], float]:
    started = time.perf_counter()
    result = api.ok(operation, **body)
    return result, time.perf_counter() - started


@dataclass(frozen=True)
class Round:
    """Seconds of each call of a round."""

    adds: list[float]
    polls: list[float]

    def is_within_bounds(self) -> bool:
        return (
            statistics.median(self.adds) < ADD_MEDIAN
            and statistics.quantiles(self.adds, n=20)[-1] < ADD_95TH
            and statistics.median(self.polls) < POLL_MEDIAN
        )

    def __str__(self) -> str:
        return (
            f"add_image of {IMAGES_PER_CALL} URLs, {len(self.adds)} calls: "
            f"median {statistics.median(self.adds) * 1000:.0f} ms, "
            f"95th percentile {statistics.quantiles(self.adds, n=20)[-1] * 1000:.0f} ms; "
            f"task_status, {len(self.polls)} calls: "
            f"median {statistics.median(self.polls) * 1000:.1f} ms"
        )


def _round(api: Api, file_server: str) -> Round:
    """Time calls while a task is being worked on, then take the work away again."""
    collection = collection_name()
    products = [
        {"product_id": f"p-{number}", "product_name": "商品", "category": "其他"}
        for number in range(IMAGES_PER_CALL)
    ]
    api.ok("create_product", collection_name=collection, product_list=products)
    worked_on = api.add(collection, _images(0, file_server))
    adds: list[float] = []
    polls: list[float] = []
    for call in range(1, CALLS + 1):
        images = _images(call, file_server)
        result, seconds = _timed(api, "add_image", collection_name=collection, image_list=images)
        assert result["failed_list"] == []
        adds.append(seconds)
        for task_id in (result["task_id"], worked_on) * (POLLS_PER_CALL // 2):
            status, seconds = _timed(api, "task_status", task_id=task_id)
            polls.append(seconds)
    assert status["task_status"] == "PROCESSING", "the work ended before the measurement"
    api.ok("delete_collection", collection_name=collection)
    return Round(adds, polls)


def test_submissions_and_polls_answer_at_once_while_a_task_is_being_worked_on(
    api: Api, file_server: str
) -> None:
    measured = _round(api, file_server)
    print(f"\n{measured}")
    assert measured.is_within_bounds(), str(measured)
