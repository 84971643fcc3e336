"""task_status and list_tasks: which images succeeded, failed, or are still on their way."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from app.http.fields import (
    PAGE_SIZE,
    SENTENCES,
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
from app.operations.answers import AnswerModel, Count, Message, Moment, NextCursor, Success
from app.operations.base import Call, Operation
from app.operations.examples import COLLECTION, TASK_ID, Example, success
from app.operations.image_names import EXAMPLE, ImageName
from app.services import Services
from broker.results import read_outcomes
from catalog.flows.task_standing import (
    TaskCounts,
    TaskStanding,
    count_images,
    find_standing,
    note_end,
)
from catalog.rows.chunks import Stage
from catalog.rows.collections import collection_key
from catalog.rows.images import Failure
from catalog.rows.tasks import TaskRow, user_of
from contract import errors
from contract.causes import BY_MESSAGE, CAUSES

#: What Retry-After says while a task is processed, and while all that is left waits for hosts.
POLL_SECONDS, POLL_SECONDS_OF_WAITING = 1, 5

PROCESSING, FINISHED = "PROCESSING", "FINISHED"

Sentence = Annotated[
    str, Field(description="What happened; empty where that is not known any more.")
]
Retryable = Annotated[
    bool | None, Field(description="Whether a repeat may succeed; null where `detail` is empty.")
]
StageName = Annotated[
    Literal["fetch", "vision", "index", ""],
    Field(description="Where it happened; empty as `detail`."),
]


class ListTasksRequest(RequestModel):
    """A call of list_tasks."""

    collection_name: CollectionName | None = None
    task_status: TaskState | None = None
    cursor: Cursor | None = None
    limit: PageSize = PAGE_SIZE


class TaskStatusRequest(RequestModel):
    """A call of task_status."""

    task_id: Text


class EndedImage(ImageName):
    """An image that failed, why, in which stage, and whether a repeat may succeed."""

    message: Message
    detail: Sentence
    retryable: Retryable
    stage: StageName
    failed_at: Annotated[Moment | None, Field(description="null where it is not known any more.")]


class PendingImage(ImageName):
    """An image on its way: its stage, and what it waits for if its host gave no picture yet."""

    stage: Literal["fetch", "vision", "index"]
    detail: Annotated[
        str, Field(description="Why the last try to fetch it failed; empty if none did.")
    ]
    next_try_at: Annotated[
        Moment | None, Field(description="When it is fetched again; null if it waits for no host.")
    ]


class PendingCounts(AnswerModel):
    """How many images are in each stage."""

    fetch: Count
    vision: Count
    index: Count


class TaskStatusAnswer(Success):
    """The images of the task by state; the three lists together are all that it took."""

    task_status: TaskState
    succeeded_list: list[ImageName]
    failed_list: list[EndedImage]
    pending_list: list[PendingImage]
    pending_by_stage: PendingCounts


class ListedTask(AnswerModel):
    """A task, with the number of its images in each state."""

    task_id: str
    task_status: TaskState
    succeeded: Count
    failed: Count
    pending: Count
    created_at: Moment
    finished_at: Moment | None


class ListTasksAnswer(Success):
    """A page of the tasks, newest first."""

    task_list: list[ListedTask]
    next_cursor: NextCursor


def task_status(services: Services, call: Call) -> dict[str, Any]:
    """Report which images of a task succeeded, failed, or are pending."""
    request = parse(TaskStatusRequest, call.body, services.settings)
    user = user_of(request.task_id)
    if user is None:
        raise errors.InvalidTaskId
    standing = None
    if user == call.user:
        standing = find_standing(
            services.catalog, request.task_id, partial(read_outcomes, services.redis)
        )
    if standing is None:
        raise errors.TaskNotExist
    note_end(services.catalog, standing)
    failed = [label for label, image in standing.images.items() if image.is_failed]
    return _answer(standing, services.catalog.images.failures(failed))


def _answer(standing: TaskStanding, failures: Mapping[int, Failure]) -> dict[str, Any]:
    succeeded, failed, pending = [], [], []
    for image in sorted(standing.images.values()):
        names = {"product_id": image.outcome.product_id, "image_id": image.outcome.image_id}
        if image.progress is not None:
            pending.append(
                {
                    **names,
                    "stage": image.progress.stage,
                    "detail": image.progress.reason,
                    "next_try_at": iso(image.progress.next_try_at),
                }
            )
        elif image.is_failed:
            message = image.outcome.outcome
            failure = failures.get(image.outcome.label) or _failure_without_row(message)
            failed.append(
                {
                    **names,
                    "message": message,
                    "detail": failure.detail,
                    "retryable": failure.is_retryable if failure.detail else None,
                    "stage": failure.stage,
                    "failed_at": iso(failure.failed_at),
                }
            )
        else:
            succeeded.append(names)
    return {
        "task_status": FINISHED if standing.is_finished else PROCESSING,
        "succeeded_list": succeeded,
        "failed_list": failed,
        "pending_list": pending,
        "pending_by_stage": {
            stage: sum(image["stage"] == stage for image in pending) for stage in Stage
        },
    }


def _poll_again(result: Mapping[str, Any]) -> int | None:
    """Return after how many seconds to ask again, None if the task is finished."""
    if result["task_status"] == FINISHED:
        return None
    all_wait = all(image["next_try_at"] is not None for image in result["pending_list"])
    return POLL_SECONDS_OF_WAITING if all_wait else POLL_SECONDS


def _failure_without_row(message: str) -> Failure:
    """Return what is known of a failed image that was deleted since, row and all."""
    cause = BY_MESSAGE.get(message)
    if cause is None:
        return Failure(message=message)
    return Failure(message=message, detail=cause.sentence, is_retryable=cause.is_retryable)


def list_tasks(services: Services, call: Call) -> dict[str, Any]:
    """List tasks, newest first, with the number of images in each state.

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
        raise errors.InvalidParameterJson(detail=SENTENCES["cursor"]) from error
    counts = count_images(services.catalog, page.rows, partial(read_outcomes, services.redis))
    return {
        "task_list": [_summary(task, counts[task.task_id]) for task in page.rows],
        "next_cursor": write_cursor(page.next),
    }


def _summary(task: TaskRow, counts: TaskCounts) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "task_status": PROCESSING if task.ending is None else FINISHED,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "pending": counts.pending,
        "created_at": iso(task.created_at),
        "finished_at": iso(None if task.ending is None else task.ending.finished_at),
    }


OPERATIONS = (
    Operation(
        name="task_status",
        handler=task_status,
        path_of_old_clients="product_image_status",
        request=TaskStatusRequest,
        answer=TaskStatusAnswer,
        example=Example(
            {"task_id": TASK_ID},
            success(
                task_status=FINISHED,
                succeeded_list=[EXAMPLE],
                failed_list=[],
                pending_list=[],
                pending_by_stage={"fetch": 0, "vision": 0, "index": 0},
            ),
        ),
        codes=(errors.InvalidTaskId, errors.TaskNotExist),
        item_codes=tuple(dict.fromkeys(cause.error for cause in CAUSES.values())),
        fault=errors.QueryTaskStatusError,
        poll_again=_poll_again,
    ),
    Operation(
        name="list_tasks",
        handler=list_tasks,
        request=ListTasksRequest,
        answer=ListTasksAnswer,
        example=Example(
            {"collection_name": COLLECTION, "task_status": FINISHED, "limit": 10},
            success(
                task_list=[
                    {
                        "task_id": TASK_ID,
                        "task_status": FINISHED,
                        "succeeded": 1,
                        "failed": 0,
                        "pending": 0,
                        "created_at": "2026-11-20T09:58:32.274Z",
                        "finished_at": "2026-11-20T09:58:33.011Z",
                    }
                ],
                next_cursor=None,
            ),
        ),
        codes=(errors.InvalidCollectionName, errors.InvalidParameterJson),
        fault=errors.QueryTaskStatusError,
    ),
)
