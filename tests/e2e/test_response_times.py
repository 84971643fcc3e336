"""How long a client waits for the answers that never wait for the work itself."""

from __future__ import annotations

import statistics
import time
from typing import Any

from e2e_client import Api

from demo.manifest import load

MANIFEST = load()
CALLS = 16
IMAGES_PER_CALL = 200
POLLS_PER_CALL = 4

#: Seconds that the service promises.
ADD_MEDIAN, ADD_95TH, POLL_MEDIAN = 0.300, 0.800, 0.050


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


def test_submissions_and_polls_answer_at_once_while_a_task_is_being_worked_on(
    api: Api, collection: str, file_server: str
) -> None:
    products = [
        {"product_id": f"p-{number}", "product_name": "商品", "category": "其他"}
        for number in range(IMAGES_PER_CALL)
    ]
    api.ok("create_product", collection_name=collection, product_list=products)
    worked_on = api.add(collection, _images(0, file_server))
    adds: list[float] = []
    polls: list[float] = []
    try:
        for call in range(1, CALLS + 1):
            result, seconds = _timed(
                api,
                "add_image",
                collection_name=collection,
                image_list=_images(call, file_server),
            )
            assert result["failed_list"] == []
            adds.append(seconds)
            for task_id in (result["task_id"], worked_on) * (POLLS_PER_CALL // 2):
                status, seconds = _timed(api, "task_status", task_id=task_id)
                polls.append(seconds)
        assert status["task_status"] == "PROCESSING", "the work ended before the measurement"
    finally:
        # So that the tests after this one need not wait for the work.
        api.ok(
            "delete_product",
            collection_name=collection,
            product_id_list=[product["product_id"] for product in products],
        )
    median, worst = statistics.median(adds), statistics.quantiles(adds, n=20)[-1]
    print(
        f"\nadd_image of {IMAGES_PER_CALL} URLs, {len(adds)} calls: "
        f"median {median * 1000:.0f} ms, 95th percentile {worst * 1000:.0f} ms; "
        f"task_status, {len(polls)} calls: median {statistics.median(polls) * 1000:.1f} ms"
    )
    assert median < ADD_MEDIAN
    assert worst < ADD_95TH
    assert statistics.median(polls) < POLL_MEDIAN
