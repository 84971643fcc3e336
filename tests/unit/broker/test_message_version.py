"""Every message says its version, and none of another version is worked on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from structlog.testing import capture_logs

from broker.celery_app import MESSAGE_VERSION, VERSION_HEADER, VersionedTask


@pytest.fixture
def memory_app() -> Iterator[Celery]:
    with Celery(
        "versions", broker="memory://", set_as_current=False, task_cls=VersionedTask
    ) as app:
        yield app


@pytest.fixture
def done() -> list[tuple[Any, ...]]:
    return []


@pytest.fixture
def task(memory_app: Celery, done: list[tuple[Any, ...]]) -> Any:
    # A shared task would be registered by every app that is finalized later in this process.
    @memory_app.task(name="work", shared=False)
    def work(*args: Any) -> str:
        done.append(args)
        return "done"

    return work


def test_a_message_says_its_version(memory_app: Celery) -> None:
    memory_app.send_task("work", args=("chunk-1", 1), queue="versions", ignore_result=True)
    with memory_app.connection_for_read() as connection:
        message = connection.SimpleQueue("versions").get(timeout=5)
        message.ack()
    assert message.headers[VERSION_HEADER] == MESSAGE_VERSION


def test_a_message_of_this_version_and_a_direct_call_are_worked_on(
    task: Any, done: list[tuple[Any, ...]]
) -> None:
    assert task("chunk-1", 1) == "done"
    task.push_request(id="x", **{VERSION_HEADER: MESSAGE_VERSION})
    assert task("chunk-2", 1) == "done"
    task.pop_request()
    task.push_request(id="x")  # sent before messages had a version
    assert task("chunk-3", 1) == "done"
    task.pop_request()
    assert done == [("chunk-1", 1), ("chunk-2", 1), ("chunk-3", 1)]


@pytest.mark.parametrize("version", [0, MESSAGE_VERSION + 1, "2", None, [1]])
def test_a_message_of_another_version_is_dropped_and_told(
    task: Any, done: list[tuple[Any, ...]], version: object
) -> None:
    task.push_request(id="chunk-1.1.fetch", **{VERSION_HEADER: version})
    with capture_logs() as lines:
        assert task("chunk-1", 1, "a new argument") is None
    task.pop_request()
    assert done == []
    (line,) = lines
    assert line["event"] == "message of another version dropped"
    assert (line["task"], line["message"]) == ("work", "chunk-1.1.fetch")
