"""What goes after its time: finished tasks, failed images, the rows of deleted ones, keys."""

from __future__ import annotations

from catalog.endings import release_images, remove_traces
from catalog.images import SUCCEEDED
from catalog.store import Catalog


def forget_tasks(catalog: Catalog, limit: int) -> int:
    """Forget at most `limit` tasks that finished long ago; give how many went.

    Their failed images go with them. The task row is the last to go, so that a crash in
    between leaves it to be done again.
    """
    tasks = catalog.tasks.to_be_removed(limit)
    for task in tasks:
        chunks = catalog.chunks.find(task.chunk_ids)
        failed = [
            label
            for chunk in chunks
            for label, outcome in zip(chunk.labels, chunk.outcomes, strict=False)
            if outcome != SUCCEEDED
        ]
        _remove_images(catalog, failed)
        catalog.chunks.remove(task.chunk_ids)
        catalog.tasks.remove(task.task_id)
    return len(tasks)


def forget_images(catalog: Catalog, limit: int) -> int:
    """Remove the rows of at most `limit` deleted images of which nothing else is left."""
    images = catalog.images.to_be_removed(limit)
    # A task that is not done still has to say of them that they were deleted.
    catalog.images.let_go([image.label for image in images if image.outcome is None])
    gone = [image.label for image in images if image.outcome is not None]
    _remove_images(catalog, gone)
    return len(gone)


def _remove_images(catalog: Catalog, labels: list[int]) -> None:
    if labels:
        dead = [label for label, image in catalog.images.find(labels).items() if image.is_dead]
        release_images(catalog, dead)
        remove_traces(catalog, dead)
        catalog.images.remove(dead)
