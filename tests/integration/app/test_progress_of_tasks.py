"""task_status tells where each pending image is, what it waits for, and when to ask again."""

from __future__ import annotations

from datetime import timedelta

from catalog.database.connection import now
from catalog.flows.splitting import Wait, wait_apart
from catalog.rows.chunks import Chunk, Stage
from catalog.store import Catalog
from tests.integration.app.api_in_process import Serve
from tests.integration.app.test_results_of_tasks import poll, taken

WHY = "shop.example answers with status 503, which may pass"


def claimed(catalog: Catalog, chunk: Chunk) -> Chunk:
    held = catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
    assert held is not None
    return held


def test_a_poll_says_what_waits_for_which_host_and_what_goes_on(
    catalog: Catalog, serve: Serve
) -> None:
    task = taken(serve(), catalog, "slow", "good")
    (chunk,) = catalog.chunks.find(task.chunk_ids)
    held = claimed(catalog, chunk)
    slow, good = held.items
    start = now() + timedelta(seconds=12)
    wait = Wait(items=(slow,), start=start, passes=1, reasons={slow.label: WHY})
    wait_apart(catalog, held, [wait])
    assert catalog.chunks.advance(held, Stage.VISION, [good]) is not None
    status = poll(serve, task.task_id)
    found = {one["image_id"]: one for one in status["pending_list"]}
    assert found["good"] == {
        "product_id": "p",
        "image_id": "good",
        "stage": "vision",
        "detail": "",
        "next_try_at": None,
    }
    assert found["slow"]["stage"] == "fetch"
    assert found["slow"]["detail"] == WHY
    assert found["slow"]["next_try_at"] == start.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    assert status["pending_by_stage"] == {"fetch": 1, "vision": 1, "index": 0}


def test_an_image_that_is_fetched_again_keeps_its_reason_until_it_is_there(
    catalog: Catalog, serve: Serve
) -> None:
    task = taken(serve(), catalog, "slow")
    (chunk,) = catalog.chunks.find(task.chunk_ids)
    held = claimed(catalog, chunk)
    assert catalog.chunks.put_back(held, now(), 1, {held.labels[0]: WHY}, now()) is not None
    (waiting,) = catalog.chunks.find([chunk.id])
    assert waiting.put_off_at is not None
    resent = catalog.chunks.resend(waiting)
    assert resent is not None
    held = claimed(catalog, resent)
    (pending,) = poll(serve, task.task_id)["pending_list"]
    assert (pending["detail"], pending["next_try_at"]) == (WHY, None)
    assert catalog.chunks.advance(held, Stage.VISION, held.items) is not None
    (pending,) = poll(serve, task.task_id)["pending_list"]
    assert (pending["stage"], pending["detail"]) == ("vision", "")
    (sent,) = catalog.chunks.find([chunk.id])
    assert sent.put_off_at is None, "its wait would count if it came back for its bytes"


def test_retry_after_says_when_to_poll_again_and_is_absent_once_a_task_is_finished(
    catalog: Catalog, serve: Serve
) -> None:
    client = serve()
    task = taken(client, catalog, "slow")

    def retry_after() -> str | None:
        answer = client.post("/v1/task_status", json={"task_id": task.task_id})
        assert answer.status_code == 200
        return answer.headers.get("Retry-After")

    assert retry_after() == "1"
    (chunk,) = catalog.chunks.find(task.chunk_ids)
    held = claimed(catalog, chunk)
    later = now() + timedelta(minutes=1)
    waiting = catalog.chunks.put_back(held, later, 1, {held.labels[0]: WHY})
    assert waiting is not None
    assert retry_after() == "5"
    resent = catalog.chunks.resend(waiting)
    assert resent is not None
    held = claimed(catalog, resent)
    assert catalog.chunks.finish(held, ["BROKEN_BASE64_OR_URL"])
    assert retry_after() is None
