"""task_status: which images of a task succeeded, failed, or are still on their way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.fields import RequestModel, Text, parse
from app.operations import Call, Operation
from app.services import Services
from catalog.chunks import State
from catalog.images import SUCCEEDED
from catalog.tasks import TaskRow, user_of
from contract import errors
from workers.results import Outcome, read_outcomes

#: A chunk that is split between two reads hides its images for a moment; then we read again.
READS = 3


class TaskStatusRequest(RequestModel):
    """A call of task_status."""

    task_id: Text


def task_status(services: Services, call: Call) -> dict[str, Any]:
    """Tell how far a task is."""
    request = parse(TaskStatusRequest, call.body, services.settings)
    user = user_of(request.task_id)
    if user is None:
        raise errors.InvalidTaskId
    images: dict[int, tuple[Outcome, bool]] = {}
    for _ in range(READS):
        task = services.catalog.tasks.find(request.task_id) if user == call.user else None
        if task is None:
            raise errors.TaskNotExist
        images = _images(services, task)
        if len(images) == task.image_count:
            break
    else:
        raise errors.QueryTaskStatusError(
            f"{len(images)} images of a task that took another number"
        )
    return _answer([(outcome, is_final) for outcome, is_final in images.values()])


def _images(services: Services, task: TaskRow) -> dict[int, tuple[Outcome, bool]]:
    """Give each image of a task with its outcome, and whether that is final, by label."""
    results = read_outcomes(services.redis, task.chunk_ids)
    images = {outcome.label: (outcome, True) for found in results.values() for outcome in found}
    missing = [chunk_id for chunk_id in task.chunk_ids if chunk_id not in results]
    for outcome, is_final in _from_rows(services, missing):
        # While a chunk is being split, an image may stand in two; the one that knows more wins.
        if is_final or outcome.label not in images:
            images[outcome.label] = (outcome, is_final)
    return images


def _from_rows(services: Services, chunk_ids: Sequence[str]) -> list[tuple[Outcome, bool]]:
    """Read from the rows what no Celery result tells: chunks at work, and results that are gone."""
    chunks = services.catalog.chunks.find(chunk_ids)
    open_labels = [
        label for chunk in chunks if chunk.state is not State.DONE for label in chunk.labels
    ]
    rows = services.catalog.images.find(open_labels)
    found = []
    for chunk in chunks:
        for position, item in enumerate(chunk.items):
            if chunk.state is State.DONE:
                outcome: str | None = chunk.outcomes[position]
            else:
                outcome = rows[item.label].outcome if item.label in rows else None
            found.append(
                (
                    Outcome(item.label, item.product_id, item.image_id, outcome or ""),
                    outcome is not None,
                )
            )
    return found


def _answer(images: Sequence[tuple[Outcome, bool]]) -> dict[str, Any]:
    succeeded, failed, pending = [], [], []
    for outcome, is_final in sorted(images):
        names = {"product_id": outcome.product_id, "image_id": outcome.image_id}
        if not is_final:
            pending.append(names)
        elif outcome.outcome == SUCCEEDED:
            succeeded.append(names)
        else:
            failed.append({**names, "message": outcome.outcome})
    return {
        "task_status": "PROCESSING" if pending else "FINISHED",
        "succeeded_list": succeeded,
        "failed_list": failed,
        "pending_list": pending,
    }


OPERATIONS = (
    Operation("task_status", task_status, "product_image_status", errors.QueryTaskStatusError),
)
