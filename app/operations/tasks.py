"""task_status and list_tasks: which images succeeded, failed, or are still on their way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app.http.fields import (
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
from app.http.timestamps import iso
from app.operations import answers, examples
from app.operations.base import CONTENT_FAULTS, Call, Operation
from app.services import Services
from broker.results import Outcome, read_outcomes
from catalog.rows.chunks import State
from catalog.rows.collections import collection_key
from catalog.rows.images import SUCCEEDED
from catalog.rows.tasks import TaskRow, user_of
from contract import errors

#: A chunk that is split between two reads hides its images for a moment; then we read again.
READS = 3

PROCESSING, FINISHED = "PROCESSING", "FINISHED"


class Told(NamedTuple):
    """An image of a task as it is told."""

    outcome: Outcome
    is_final: bool
    is_kept: bool  #: a chunk that is done tells the same as long as the task is there


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
    images: dict[int, Told] = {}
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
    answer = _answer(list(images.values()))
    if task.ending is None and answer["task_status"] == FINISHED:
        # Who was told that a task is finished finds it among the finished ones at once. The end
        # of a chunk may be long in coming, and the rows of its images may go before it.
        services.catalog.tasks.finish(
            task.task_id,
            len(answer["succeeded_list"]),
            len(answer["failed_list"]),
            {label: told.outcome.outcome for label, told in images.items() if not told.is_kept},
        )
    return answer


def _images(services: Services, task: TaskRow) -> dict[int, Told]:
    """Return each image of a task by label."""
    results = read_outcomes(services.redis, task.chunk_ids)
    images = {
        outcome.label: Told(outcome, is_final=True, is_kept=True)
        for found in results.values()
        for outcome in found
    }
    missing = [chunk_id for chunk_id in task.chunk_ids if chunk_id not in results]
    for told in _from_rows(services, task.task_id, missing):
        # While a chunk is being split, an image may stand in two; the one that knows more wins.
        if told.is_final or told.outcome.label not in images:
            images[told.outcome.label] = told
    return images


def _from_rows(services: Services, task_id: str, chunk_ids: Sequence[str]) -> list[Told]:
    """Read from the rows what no Celery result tells: chunks at work, and results that are gone."""
    if not chunk_ids:
        return []
    chunks = services.catalog.chunks.find(chunk_ids)
    open_labels = [
        label for chunk in chunks if chunk.state is not State.DONE for label in chunk.labels
    ]
    images = services.catalog.images.find(open_labels)
    ended = {label: image.outcome for label, image in images.items()}
    if len(images) < len(open_labels):
        # After the rows: an outcome is noted in the task before its row goes.
        task = services.catalog.tasks.find(task_id)
        ended = {**(task.ended if task else {}), **ended}
    found = []
    for chunk in chunks:
        is_done = chunk.state is State.DONE
        for position, item in enumerate(chunk.items):
            told = chunk.outcomes[position] if is_done else ended.get(item.label)
            outcome = Outcome(item.label, item.product_id, item.image_id, told or "")
            found.append(Told(outcome, is_final=told is not None, is_kept=is_done))
    return found


def _answer(images: Sequence[Told]) -> dict[str, Any]:
    succeeded, failed, pending = [], [], []
    for outcome, is_final, _ in sorted(images):
        names = {"product_id": outcome.product_id, "image_id": outcome.image_id}
        if not is_final:
            pending.append(names)
        elif outcome.outcome == SUCCEEDED:
            succeeded.append(names)
        else:
            failed.append({**names, "message": outcome.outcome})
    return {
        "task_status": PROCESSING if pending else FINISHED,
        "succeeded_list": succeeded,
        "failed_list": failed,
        "pending_list": pending,
    }


def list_tasks(services: Services, call: Call) -> dict[str, Any]:
    """List tasks, newest first, with how many images of each are where.

    Takes three round trips at most, however many tasks there are and whatever their state.
    """
    request = parse(ListTasksRequest, call.body, services.settings)
    key = request.collection_name and collection_key(call.user, request.collection_name)
    is_finished = None if request.task_status is None else request.task_status == FINISHED
    try:
        page = services.catalog.tasks.page(
            call.user, key, request.cursor or "", request.limit, is_finished
        )
    except ValueError as error:
        raise errors.InvalidParameterJson from error
    ended = _ended_images(services, [task for task in page.rows if task.ending is None])
    return {
        "task_list": [_summary(task, ended.get(task.task_id, {})) for task in page.rows],
        "next_cursor": write_cursor(page.next),
    }


def _ended_images(services: Services, tasks: Sequence[TaskRow]) -> dict[str, dict[int, str]]:
    """Return the outcomes of the images that ended of each of these tasks, by label.

    Those in chunks that are done: one read for all tasks, whose size does not grow with their
    images.
    """
    task_ids = {chunk_id: task.task_id for task in tasks for chunk_id in task.chunk_ids}
    if not task_ids:
        return {}
    results = read_outcomes(services.redis, list(task_ids))
    ended: dict[str, dict[int, str]] = {}
    for chunk_id, outcomes in results.items():
        of_task = ended.setdefault(task_ids[chunk_id], {})
        of_task.update((outcome.label, outcome.outcome) for outcome in outcomes)
    for chunk in services.catalog.chunks.find([n for n in task_ids if n not in results]):
        if chunk.state is State.DONE:
            of_task = ended.setdefault(task_ids[chunk.id], {})
            of_task.update(zip(chunk.labels, chunk.outcomes, strict=True))
    return ended


def _summary(task: TaskRow, ended: Mapping[int, str]) -> dict[str, Any]:
    """Return what is told of a task; `ended` are the outcomes of a task whose end is not noted.

    That comes some milliseconds after its last image, or within a lease where a worker died.
    """
    ending = task.ending
    if ending is None:
        succeeded = sum(outcome == SUCCEEDED for outcome in ended.values())
        failed = len(ended) - succeeded
    else:
        succeeded, failed = ending.succeeded, ending.failed
    return {
        "task_id": task.task_id,
        "task_status": PROCESSING if ending is None else FINISHED,
        "succeeded": succeeded,
        "failed": failed,
        "pending": task.image_count - succeeded - failed,
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
