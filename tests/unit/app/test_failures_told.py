"""What task_status tells of a failed image whose own row, with the cause, is gone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app.operations.tasks import TaskStatusAnswer, _answer
from catalog.flows.task_standing import ImageStanding, Outcome, TaskStanding
from catalog.rows.images import Failure
from catalog.rows.tasks import TaskRow
from contract import errors

TASK = TaskRow(
    task_id="default/c/1.0",
    user="default",
    collection="c",
    image_count=1,
    chunk_ids=(),
    created_at=datetime(2026, 11, 30, tzinfo=UTC),
)


def told(message: str, failures: dict[int, Failure] | None = None) -> dict[str, Any]:
    ended = ImageStanding(Outcome(7, "p", "i", message), is_final=True, is_kept=True)
    answer = _answer(TaskStanding(task=TASK, images={7: ended}), failures or {})
    (failed,) = answer["failed_list"]
    TaskStatusAnswer.model_validate({"code": 0, "message": "SUCCESS", **answer})
    found: dict[str, Any] = failed
    return found


def test_of_several_causes_nothing_is_told_and_a_repeat_is_neither_good_nor_bad() -> None:
    failed = told(errors.BrokenBase64OrUrl.message)
    assert (failed["detail"], failed["retryable"], failed["stage"]) == ("", None, "")


@pytest.mark.parametrize(
    ("fault", "retryable"),
    [(errors.DuplicateImage, False), (errors.InsertImageError, True)],
)
def test_the_only_cause_of_a_message_is_told(
    fault: type[errors.ContractError], retryable: bool
) -> None:
    failed = told(fault.message)
    assert failed["detail"]
    assert failed["retryable"] is retryable


@pytest.mark.parametrize("retryable", [False, True])
def test_a_row_is_told_as_it_is(retryable: bool) -> None:
    message = errors.BrokenBase64OrUrl.message
    failure = Failure(message=message, detail="why", is_retryable=retryable)
    failed = told(message, {7: failure})
    assert (failed["detail"], failed["retryable"]) == ("why", retryable)
