"""add_image in one process: repeats with a key, a backlog, and calls that break off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient
from pymongo.errors import AutoReconnect
from werkzeug.test import TestResponse

from app.services import Services
from catalog.database.connection import now, stamp
from catalog.flows.submission import roll_back
from catalog.store import Catalog
from config.settings import settings
from tests.integration.app.api_in_process import Serve, result

URL = "http://127.0.0.1:9/a.jpg"


def products(client: FlaskClient, *product_ids: str) -> None:
    answer = result(
        client,
        "create_product",
        collection_name="c",
        product_list=[
            {"product_id": one, "product_name": "n", "category": "其他"} for one in product_ids
        ],
    )
    assert answer["failed_list"] == []


def add(client: FlaskClient, *image_ids: str, key: str | None = None) -> TestResponse:
    return client.post(
        "/v1/add_image",
        json={
            "collection_name": "c",
            "image_list": [
                {"product_id": "p", "image_id": one, "image_content": URL} for one in image_ids
            ],
        },
        headers={} if key is None else {"Idempotency-Key": key},
    )


def added(client: FlaskClient, *image_ids: str, key: str | None = None) -> dict[str, Any]:
    response = add(client, *image_ids, key=key)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()["result"]
    return found


class Cut(BaseException):
    """The process ends here; a BaseException, since nothing may clean up after it."""


def cut_off(patcher: pytest.MonkeyPatch, services: Services, call: Callable[[], object]) -> None:
    """Make a call whose process ends right before its submission becomes a task."""

    def cut(*_: object, **__: object) -> None:
        raise Cut

    with patcher.context() as patch:
        patch.setattr(services.catalog.tasks, "open", cut)
        with pytest.raises(Cut):
            call()


def rows_of(catalog: Catalog, table: str) -> list[dict[str, Any]]:
    return list(catalog.client[settings().mongo_database][table].find())


def test_a_repeat_with_the_same_key_is_answered_the_same_and_takes_nothing_again(
    serve: Serve, catalog: Catalog
) -> None:
    client = serve()
    products(client, "p")
    assert added(client, "a")["failed_list"] == []
    first = added(client, "a", "b", "c", key="order 7")
    assert [item["image_id"] for item in first["failed_list"]] == ["a"]
    assert added(client, "a", "b", "c", key="order 7") == first
    assert len(rows_of(catalog, "images")) == 3
    assert len(rows_of(catalog, "tasks")) == 2
    assert added(client, "d", key="order 8")["task_id"] != first["task_id"]
    assert (
        result(client, "list_products", collection_name="c")["product_list"][0]["image_count"] == 4
    )


def test_a_repeat_is_answered_the_same_whatever_changed_since(serve: Serve) -> None:
    client = serve()
    products(client, "p")
    first = added(client, "a", key="k")
    full = serve(disk_free_bytes=2**62)
    assert added(full, "a", key="k") == first, "a backlog holds up new work alone"
    assert result(client, "delete_collection", collection_name="c")["code"] == 0
    assert added(client, "a", key="k") == first
    assert added(client, "a", key="another")["code"] == 1030
    products(client, "p")
    assert added(client, "a", key="another")["code"] == 0, "a call that failed leaves its key free"


@pytest.mark.answers("add_image", "INVALID_PARAMETER_JSON")
def test_a_key_with_another_body_is_refused(serve: Serve, catalog: Catalog) -> None:
    client = serve()
    products(client, "p")
    added(client, "a", key="k")
    refused = added(client, "b", key="k")
    assert refused.pop("detail").startswith("this Idempotency-Key was used with another body")
    assert refused == {"code": 5001, "message": "INVALID_PARAMETER_JSON"}
    assert len(rows_of(catalog, "images")) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel", "a\tb"])
def test_a_key_that_is_none_is_refused(serve: Serve, key: str) -> None:
    client = serve()
    products(client, "p")
    assert added(client, "a", key=key)["code"] == 5001


def test_of_many_calls_with_one_key_one_takes_the_images_and_the_others_are_told_the_same(
    serve: Serve, catalog: Catalog
) -> None:
    clients = [serve() for _ in range(6)]
    products(clients[0], "p")
    barrier = threading.Barrier(len(clients))

    def call(client: FlaskClient) -> TestResponse:
        barrier.wait(10)
        return add(client, "a", "b", key="k")

    with ThreadPoolExecutor(len(clients)) as pool:
        responses = list(pool.map(call, clients))
    answers = [r.get_json()["result"] for r in responses if r.status_code == 200]
    assert answers
    assert all(answer == answers[0] for answer in answers)
    assert {r.status_code for r in responses} <= {200, 503}
    assert added(clients[0], "a", "b", key="k") == answers[0]
    assert len(rows_of(catalog, "tasks")) == 1


def test_a_call_that_took_nothing_leaves_its_key_free(serve: Serve) -> None:
    client = serve()
    products(client, "q")
    assert added(client, "a", key="k")["code"] == 3019
    products(client, "p")
    assert added(client, "a", key="k")["code"] == 0


def test_a_key_whose_call_was_cut_off_is_busy_for_its_time_and_then_works(
    serve: Serve, catalog: Catalog, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    products(client, "p")

    cut_off(monkeypatch, made[0], lambda: add(client, "a", key="k"))
    assert add(client, "a", key="k").status_code == 503
    keys = catalog.client[settings().mongo_database]["keys"]
    keys.update_many({}, {"$set": {"due_at": stamp(now() - timedelta(seconds=1))}})
    answer = added(client, "a", key="k")
    assert (answer["code"], answer["failed_list"]) == (0, [])
    assert added(client, "a", key="k") == answer
    assert len(rows_of(catalog, "images")) == 1


@pytest.mark.parametrize("read", ["submission", "find"])
def test_a_repeat_finds_the_task_that_its_call_opens_between_two_reads(
    serve: Serve,
    catalog: Catalog,
    made: list[Services],
    monkeypatch: pytest.MonkeyPatch,
    read: str,
) -> None:
    """The process of the first call stood still for longer than a submission may take."""
    client = serve()
    products(client, "p")
    tasks = made[0].catalog.tasks
    opened: list[Callable[[], Any]] = []
    open_task, reading = tasks.open, getattr(tasks, read)

    def stand_still(*arguments: Any, **named: Any) -> None:
        opened.append(partial(open_task, *arguments, **named))
        raise Cut

    def read_and_open(task_id: str) -> Any:
        found = reading(task_id)
        if opened:
            assert opened.pop()() is not None
        return found

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "open", stand_still)
        with pytest.raises(Cut):
            add(client, "a", key="k")
    keys = catalog.client[settings().mongo_database]["keys"]
    keys.update_many({}, {"$set": {"due_at": stamp(now() - timedelta(seconds=1))}})
    with monkeypatch.context() as patch:
        patch.setattr(tasks, read, read_and_open)
        response = add(client, "a", key="k")
    assert response.status_code == 503 or response.get_json()["result"]["code"] == 0
    (row,) = rows_of(catalog, "tasks")
    assert added(client, "a", key="k")["task_id"] == row["_id"]


def test_a_key_whose_submission_was_undone_works_at_once(
    serve: Serve, catalog: Catalog, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    products(client, "p")
    opening = made[0].catalog.tasks.open

    def undone_first(submission: Any, **named: Any) -> Any:
        assert roll_back(catalog, submission)
        return opening(submission, **named)

    with monkeypatch.context() as patch:
        patch.setattr(made[0].catalog.tasks, "open", undone_first)
        assert add(client, "a", key="k").status_code == 503
    assert rows_of(catalog, "images") == []
    assert added(client, "a", key="k")["code"] == 0


def test_a_repeat_is_told_nothing_of_names_that_a_call_without_an_answer_still_holds(
    serve: Serve, catalog: Catalog, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told that they are there, its client would never send them again, and they go."""
    client = serve()
    products(client, "p")

    cut_off(monkeypatch, made[0], lambda: add(client, "a", "b"))
    assert add(client, "a", "b").status_code == 503
    (submission,) = catalog.tasks.unopened()
    assert roll_back(catalog, submission)
    assert added(client, "a", "b")["failed_list"] == []
    assert added(client, "a")["failed_list"][0]["message"] == ["REPEAT_IMAGE_NAME_IN_DB"]


def test_a_call_in_which_the_database_goes_away_leaves_its_names_free(
    serve: Serve, catalog: Catalog, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    products(client, "p")

    def gone(*_: object) -> None:
        raise AutoReconnect("the database went away")

    with monkeypatch.context() as patch:
        patch.setattr(made[0].catalog.chunks, "insert", gone)
        assert add(client, "a").status_code == 503
    assert rows_of(catalog, "image_names") == []
    assert rows_of(catalog, "tasks") == []
    assert added(client, "a")["failed_list"] == []


def test_a_call_that_outlives_its_submission_and_then_fails_undoes_what_it_wrote(
    serve: Serve, catalog: Catalog, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    products(client, "p")

    take = made[0].catalog.names.take

    def undone_first(wanted: Any) -> Any:
        (submission,) = catalog.tasks.unopened()
        assert roll_back(catalog, submission)
        return take(wanted)

    def gone(*_: object) -> None:
        raise AutoReconnect("the database went away")

    with monkeypatch.context() as patch:
        patch.setattr(made[0].catalog.names, "take", undone_first)
        patch.setattr(made[0].catalog.images, "insert", gone)
        assert add(client, "a").status_code == 503
    for table in ("tasks", "chunks", "images", "image_names"):
        assert rows_of(catalog, table) == [], table
    assert [row["places"] for row in rows_of(catalog, "products")] == [[]]
    assert added(client, "a")["failed_list"] == []


def test_more_than_may_wait_is_busy_and_everything_else_goes_on(serve: Serve) -> None:
    client = serve(backlog_images=3)
    products(client, "p")
    task_id = added(client, "a", "b", "c")["task_id"]
    # The measurement of a moment ago may still be used.
    made_busy = _until_busy(client, "d")
    assert made_busy.get_json()["code"] == "10020"
    assert int(made_busy.headers["Retry-After"]) > 2
    status = result(client, "task_status", task_id=task_id)
    assert status["task_status"] == "PROCESSING"
    deleted = result(
        client,
        "delete_image",
        collection_name="c",
        image_id_list=[{"product_id": "p", "image_id": "a"}],
    )
    assert deleted["failed_list"] == []


@pytest.mark.parametrize(
    "limits",
    [{"backlog_seconds": 0.05}, {"disk_free_bytes": 2**62}],
    ids=["an old message", "a full disk"],
)
def test_an_old_backlog_and_a_full_disk_are_busy(serve: Serve, limits: dict[str, float]) -> None:
    client = serve()
    products(client, "p")
    added(client, "a")
    assert _until_busy(serve(**limits), "b").get_json()["code"] == "10020"


def test_base64_that_waits_is_a_backlog_by_its_bytes(serve: Serve, catalog: Catalog) -> None:
    client = serve(backlog_bytes=1000)
    products(client, "p")
    submission = catalog.tasks.begin("default", "default/c", "1f", [])
    assert catalog.tasks.open(submission, [], 1, 999)
    added(client, "a")
    submission = catalog.tasks.begin("default", "default/c", "1f", [])
    assert catalog.tasks.open(submission, [], 1, 1)
    assert _until_busy(client, "b").get_json()["code"] == "10020"


def test_zero_stands_for_no_limit(serve: Serve) -> None:
    none = dict.fromkeys(
        ("backlog_images", "backlog_seconds", "backlog_bytes", "disk_free_bytes"), 0
    )
    client = serve(**none)
    products(client, "p")
    for name in "abc":
        added(client, name)


def _until_busy(client: FlaskClient, image_id: str) -> TestResponse:
    """Return the first answer of busy; a measurement is used for a second."""
    for number in range(40):
        response = add(client, f"{image_id}{number}")
        if response.status_code == 503:
            return response
        threading.Event().wait(0.1)
    raise AssertionError("never busy")
