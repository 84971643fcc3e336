"""What goes after its time: finished tasks, failed images, the rows of deleted ones.

In bulk, by `_id`, and without reading what is not there any more: of almost all of these
images nothing is left but their rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from catalog.flows.removal import remove_dead
from catalog.rows.images import SUCCEEDED, ImageRow
from catalog.rows.tasks import TaskRow
from catalog.store import Catalog


def forget_tasks(catalog: Catalog, tasks: Sequence[TaskRow]) -> None:
    """Forget tasks that finished long ago, and their failed images with them.

    The rows of the tasks are the last to go, so that a crash in between leaves them to be
    done again.
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
    """Remove the rows of deleted images of which nothing else is left; return how many went."""
    # A task that is not done still has to say of them that they were deleted.
    open_ones = [image.label for image in images if image.outcome is None]
    if open_ones:
        catalog.images.schedule_removal(open_ones)
    gone = [image for image in images if image.outcome is not None and image.is_dead]
    remove_dead(catalog, gone)
    return len(gone)
