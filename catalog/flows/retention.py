"""The removal of expired rows: finished tasks, failed images and deleted images.

Rows are removed in bulk, by `_id`, without reading other tables first: almost all of these
images have nothing left but their rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from catalog.flows.removal import remove_dead
from catalog.rows.images import SUCCEEDED, ImageRow
from catalog.rows.tasks import TaskRow
from catalog.store import Catalog


def forget_tasks(catalog: Catalog, tasks: Sequence[TaskRow]) -> None:
    """Remove expired tasks, with their chunks and their failed images.

    The rows of the tasks are removed last, so that the sweep repeats a removal that was cut off.
    """
    chunk_ids = [chunk_id for task in tasks for chunk_id in task.chunk_ids]
    failed = [
        label
        for chunk in catalog.chunks.find(chunk_ids)
        for label, outcome in zip(chunk.labels, chunk.outcomes, strict=False)
        if outcome != SUCCEEDED
    ]
    if failed:
        images = catalog.images.find(failed).values()
        remove_dead(catalog, [image for image in images if image.is_dead])
    catalog.chunks.remove(chunk_ids)
    catalog.tasks.remove_all([task.task_id for task in tasks])


def forget_images(catalog: Catalog, images: Sequence[ImageRow]) -> int:
    """Remove the rows of deleted images, and return how many were removed.

    An image without an outcome is scheduled again, since its task must report it first.
    """
    open_ones = [image.label for image in images if image.outcome is None]
    if open_ones:
        catalog.images.schedule_removal(open_ones)
    gone = [image for image in images if image.outcome is not None and image.is_dead]
    remove_dead(catalog, gone)
    return len(gone)
