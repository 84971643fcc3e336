"""The state of each image of a task, and when a task is finished: the one place that decides it.

Celery's results are a copy of the rows, for speed; if one is missing, the rows are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from catalog.rows.chunks import Chunk, Stage, State
from catalog.rows.images import SUCCEEDED
from catalog.rows.tasks import TaskRow
from catalog.store import Catalog
from contract.causes import GIVEN_UP
from contract.errors import ContractError, QueryTaskStatusError


class Outcome(NamedTuple):
    """How one image of a task ended: `outcome` is "SUCCEEDED" or the message of its fault."""

    label: int
    product_id: str
    image_id: str
    outcome: str


#: Returns the outcomes of chunks by chunk id; chunks without a Celery result are left out.
ReadResults = Callable[[Sequence[str]], Mapping[str, Sequence[Outcome]]]


class Progress(NamedTuple):
    """Where a pending image is."""

    stage: Stage
    reason: str = ""  #: why it was not fetched yet, if a try failed
    next_try_at: datetime | None = None  #: when it is fetched again, if it waits for that


class ImageStanding(NamedTuple):
    """The state of an image of a task; the text of its outcome is empty while it is pending."""

    outcome: Outcome
    is_final: bool
    is_kept: bool  #: whether a done chunk keeps the outcome as long as the task exists
    progress: Progress | None = None  #: None once it is final

    @property
    def is_failed(self) -> bool:
        """Whether the image ended, and not by success."""
        return self.is_final and self.outcome.outcome != SUCCEEDED


@dataclass(frozen=True, kw_only=True)
class TaskStanding:
    """The state of a task, image by image."""

    task: TaskRow
    images: Mapping[int, ImageStanding]  #: by label

    @property
    def is_finished(self) -> bool:
        """Whether every image has its outcome."""
        return all(image.is_final for image in self.images.values())


@dataclass(frozen=True, kw_only=True)
class TaskCounts:
    """How many images of a task succeeded, failed and are pending."""

    succeeded: int
    failed: int
    pending: int


def find_standing(catalog: Catalog, task_id: str, read_results: ReadResults) -> TaskStanding | None:
    """Return the state of a task, None if there is no such task.

    Raises QueryTaskStatusError if the chunks do not have as many images as the task.
    """
    images: dict[int, ImageStanding] = {}
    read: set[str] = set()
    while (task := catalog.tasks.find(task_id)) is not None:
        # A chunk that was split since the task was read lacks images. Those that have them were
        # added to the task before, so it is read again until it names no further ones.
        unread = [chunk_id for chunk_id in task.chunk_ids if chunk_id not in read]
        if not unread:
            raise QueryTaskStatusError(f"{len(images)} images of a task that took another number")
        _add(images, _images(catalog, task_id, unread, read_results))
        if len(images) == task.image_count:
            return TaskStanding(task=task, images=images)
        read.update(unread)
    return None


def note_end(catalog: Catalog, standing: TaskStanding) -> None:
    """Note the end of a task, if it is finished and that is not noted yet.

    So a client that was told that a task is finished finds it listed as finished at once. The
    end of a chunk may come much later, and the rows of its images may be removed before it.
    """
    if standing.task.ending is not None or not standing.is_finished:
        return
    images = standing.images
    succeeded = sum(image.outcome.outcome == SUCCEEDED for image in images.values())
    catalog.tasks.finish(
        standing.task.task_id,
        succeeded,
        len(images) - succeeded,
        {label: image.outcome.outcome for label, image in images.items() if not image.is_kept},
    )


def count_images(
    catalog: Catalog, tasks: Sequence[TaskRow], read_results: ReadResults
) -> dict[str, TaskCounts]:
    """Return how many images of each task succeeded, failed and are pending, by task id.

    Of a task whose end is not noted, only images in done chunks count as ended: that takes one
    read for all tasks, whose size does not grow with their images. The end is noted some
    milliseconds after the last image, or within a lease if a worker died.
    """
    ended = _ended_images(catalog, [task for task in tasks if task.ending is None], read_results)
    counts: dict[str, TaskCounts] = {}
    for task in tasks:
        if task.ending is None:
            outcomes = ended.get(task.task_id, {})
            succeeded = sum(outcome == SUCCEEDED for outcome in outcomes.values())
            failed = len(outcomes) - succeeded
        else:
            succeeded, failed = task.ending.succeeded, task.ending.failed
        counts[task.task_id] = TaskCounts(
            succeeded=succeeded, failed=failed, pending=task.image_count - succeeded - failed
        )
    return counts


def outcomes_of_rows(
    catalog: Catalog, chunk: Chunk, faults: Mapping[int, ContractError]
) -> list[Outcome]:
    """Return the outcomes of a chunk all of whose images ended, in their order.

    `faults`, by label, are used for images without an outcome, such as those whose row is gone;
    without one there, InsertImageError is.
    """
    ended = _ended(catalog, chunk.task_id, chunk.labels)
    return [
        Outcome(
            item.label,
            item.product_id,
            item.image_id,
            ended.get(item.label) or faults.get(item.label, GIVEN_UP.error).message,
        )
        for item in chunk.items
    ]


def outcomes_of_chunk(chunk: Chunk) -> list[Outcome]:
    """Return the outcomes in a done chunk, in the order of its images."""
    return [
        Outcome(item.label, item.product_id, item.image_id, outcome)
        for item, outcome in zip(chunk.items, chunk.outcomes, strict=True)
    ]


def end_task(catalog: Catalog, task_id: str) -> None:
    """Note the end of a task if all of its chunks are done.

    Of two chunks that end at once, the later caller sees both done.
    """
    task = catalog.tasks.find(task_id)
    chunks = catalog.chunks.find(task.chunk_ids) if task else []
    if task and all(chunk.state is State.DONE for chunk in chunks):
        ended = {one.label: one.outcome for chunk in chunks for one in outcomes_of_chunk(chunk)}
        succeeded = sum(outcome == SUCCEEDED for outcome in ended.values())
        catalog.tasks.finish(task_id, succeeded, len(ended) - succeeded)


def _add(images: dict[int, ImageStanding], found: Iterable[ImageStanding]) -> None:
    """Add images by label: of one that is in two chunks, while one is split, a final state wins."""
    for image in found:
        if image.is_final or image.outcome.label not in images:
            images[image.outcome.label] = image


def _images(
    catalog: Catalog, task_id: str, chunk_ids: Sequence[str], read_results: ReadResults
) -> list[ImageStanding]:
    """Return the state of each image of some chunks of a task."""
    results = read_results(chunk_ids)
    found = [
        ImageStanding(outcome, is_final=True, is_kept=True)
        for outcomes in results.values()
        for outcome in outcomes
    ]
    missing = [chunk_id for chunk_id in chunk_ids if chunk_id not in results]
    return [*found, *_images_of_rows(catalog, task_id, missing)]


def _images_of_rows(
    catalog: Catalog, task_id: str, chunk_ids: Sequence[str]
) -> list[ImageStanding]:
    """Return the images of chunks that have no Celery result, from their rows."""
    if not chunk_ids:
        return []
    chunks = catalog.chunks.find(chunk_ids)
    open_labels = [
        label for chunk in chunks if chunk.state is not State.DONE for label in chunk.labels
    ]
    ended = _ended(catalog, task_id, open_labels)
    found = []
    for chunk in chunks:
        is_done = chunk.state is State.DONE
        for position, item in enumerate(chunk.items):
            told = chunk.outcomes[position] if is_done else ended.get(item.label)
            outcome = Outcome(item.label, item.product_id, item.image_id, told or "")
            progress = None if told is not None else _progress(chunk, item.label)
            found.append(ImageStanding(outcome, told is not None, is_done, progress))
    return found


def _progress(chunk: Chunk, label: int) -> Progress:
    reason = dict(chunk.waits).get(label, "")
    next_try_at = chunk.due_at if reason and chunk.state is State.WAITING else None
    return Progress(chunk.stage, reason, next_try_at)


def _ended(catalog: Catalog, task_id: str, labels: Sequence[int]) -> dict[int, str]:
    """Return the outcomes of images by label; pending ones are left out."""
    images = catalog.images.find(labels)
    ended = {label: image.outcome for label, image in images.items() if image.outcome is not None}
    if len(images) < len(labels):
        # Read after the rows, since an outcome is written into the task before its row is removed.
        task = catalog.tasks.find(task_id)
        ended = {**(task.ended if task else {}), **ended}
    return ended


def _ended_images(
    catalog: Catalog, tasks: Sequence[TaskRow], read_results: ReadResults
) -> dict[str, dict[int, str]]:
    """Return the outcomes of images in done chunks, by task id and label."""
    task_ids = {chunk_id: task.task_id for task in tasks for chunk_id in task.chunk_ids}
    if not task_ids:
        return {}
    results = read_results(list(task_ids))
    ended: dict[str, dict[int, str]] = {}
    for chunk_id, outcomes in results.items():
        of_task = ended.setdefault(task_ids[chunk_id], {})
        of_task.update((outcome.label, outcome.outcome) for outcome in outcomes)
    for chunk in catalog.chunks.find([n for n in task_ids if n not in results]):
        if chunk.state is State.DONE:
            of_task = ended.setdefault(task_ids[chunk.id], {})
            of_task.update(zip(chunk.labels, chunk.outcomes, strict=True))
    return ended
