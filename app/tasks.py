"""task_status and list_tasks: which images succeeded, failed, or are still on their way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app import answers, examples
from app.fields import (
    PAGE_SIZE,
    CollectionName,
    Cursor,
    PageSize,
    RequestModel,
    TaskState,
    Text,
    parse,
    write_cursor,
)
from app.operations import CONTENT_FAULTS, Call, Operation
from app.services import Services
from app.times import iso
from catalog.chunks import State
from catalog.collections import collection_key
from catalog.images import SUCCEEDED
from catalog.tasks import TaskRow, user_of
from contract import errors
from workers.results import Outcome, read_outcomes

#: A chunk that is split between two reads hides its images for a moment; then we read again.
READS = 3


#: Pages read for one answer at most: where few tasks are of the wanted status, an answer may
#: have fewer of them than it could, and a cursor to go on with.
READ_PAGES = 20


class ListTasksRequest(RequestModel):
    """A call of list_tasks."""

    collection_name: CollectionName | None = None
    task_status: TaskState | None = None
    cursor: Cursor | None = None
    limit: PageSize = PAGE_SIZE


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
    if not chunk_ids:
        return []
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


def list_tasks(services: Services, call: Call) -> dict[str, Any]:
    """List tasks, newest first, with how many images of each are where."""
    request = parse(ListTasksRequest, call.body, services.settings)
    key = request.collection_name and collection_key(call.user, request.collection_name)
    place: str | None = request.cursor or ""
    shown: list[dict[str, Any]] = []
    for _ in range(READ_PAGES):
        try:
            page = services.catalog.tasks.page(
                call.user, key, place or "", request.limit - len(shown)
            )
        except ValueError as error:
            raise errors.InvalidParameterJson from error
        tasks = [_summary(services, task) for task in page.rows]
        shown += [t for t in tasks if request.task_status in (None, t["task_status"])]
        place = page.next
        if place is None or len(shown) == request.limit:
            break
    return {"task_list": shown, "next_cursor": write_cursor(place)}


def _summary(services: Services, task: TaskRow) -> dict[str, Any]:
    ending = task.ending
    if ending is None:
        images = [
            outcome.outcome for outcome, is_final in _images(services, task).values() if is_final
        ]
        succeeded = images.count(SUCCEEDED)
        failed = len(images) - succeeded
    else:
        succeeded, failed = ending.succeeded, ending.failed
    pending = task.image_count - succeeded - failed
    if ending is None and not pending:
        # Between the end of the last chunk and the note of it, or for good if a worker died there.
        services.catalog.tasks.finish(task.task_id, succeeded, failed)
        found = services.catalog.tasks.find(task.task_id)
        ending = None if found is None else found.ending
    return {
        "task_id": task.task_id,
        "task_status": "PROCESSING" if pending else "FINISHED",
        "succeeded": succeeded,
        "failed": failed,
        "pending": pending,
        "created_at": iso(task.created_at),
        "finished_at": iso(None if ending is None else ending.finished_at),
    }


OPERATIONS = (
    Operation(
        name="task_status",
        handler=task_status,
        path_of_old_clients="product_image_status",
        request=TaskStatusRequest,
        answer=answers.TaskStatusAnswer,
        example=examples.TASK_STATUS,
        codes=(errors.InvalidTaskId, errors.TaskNotExist),
        item_codes=(
            *CONTENT_FAULTS,
            errors.InvalidImageContent,
            errors.DuplicateImage,
            errors.NoRelativeImage,
            errors.NotExistingProduct,
            errors.NoRelativeCollection,
            errors.NoAvailableFeature,
            errors.InsertImageError,
        ),
        fault=errors.QueryTaskStatusError,
    ),
    Operation(
        name="list_tasks",
        handler=list_tasks,
        request=ListTasksRequest,
        answer=answers.ListTasksAnswer,
        example=examples.LIST_TASKS,
        codes=(errors.InvalidCollectionName, errors.InvalidParameterJson),
        fault=errors.QueryTaskStatusError,
    ),
)
