"""The end of a chunk: every image of it has an outcome, in the rows and as Celery's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.results import Outcome, store_outcomes
from catalog.rows.chunks import Chunk, State
from catalog.rows.images import SUCCEEDED
from catalog.store import Catalog
from contract.errors import ContractError, InsertImageError


def conclude(
    catalog: Catalog, chunk: Chunk, faults: Mapping[int, type[ContractError]] | None = None
) -> None:
    """End a chunk all of whose images have an outcome, unless somebody else has its lease.

    `faults` are those of images that have no row any more, by label, unless they ended before.
    """
    images = catalog.images.find(chunk.labels)
    ended = {label: image.outcome for label, image in images.items() if image.outcome is not None}
    if len(images) < len(chunk.labels):
        # After the rows: an outcome is noted in the task before its row goes.
        task = catalog.tasks.find(chunk.task_id)
        ended |= task.ended if task else {}
    outcomes = [
        Outcome(
            item.label,
            item.product_id,
            item.image_id,
            ended.get(item.label) or (faults or {}).get(item.label, InsertImageError).message,
        )
        for item in chunk.items
    ]
    if catalog.chunks.finish(chunk, [outcome.outcome for outcome in outcomes]):
        _settle(catalog, chunk, outcomes)


def settle(catalog: Catalog, chunk: Chunk) -> None:
    """Do again what follows the end of a chunk, for one that was cut off before it was settled."""
    _settle(
        catalog,
        chunk,
        [
            Outcome(item.label, item.product_id, item.image_id, outcome)
            for item, outcome in zip(chunk.items, chunk.outcomes, strict=True)
        ],
    )


def _settle(catalog: Catalog, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
    store_outcomes(chunk.id, outcomes)
    _end_task(catalog, chunk.task_id)
    catalog.chunks.settle(chunk.id)


def _end_task(catalog: Catalog, task_id: str) -> None:
    """Note the end of a task whose last chunk is done. The last of two at once sees both done."""
    task = catalog.tasks.find(task_id)
    chunks = catalog.chunks.find(task.chunk_ids) if task else []
    if task and all(chunk.state is State.DONE for chunk in chunks):
        ended = {
            label: outcome
            for chunk in chunks
            for label, outcome in zip(chunk.labels, chunk.outcomes, strict=True)
        }
        succeeded = sum(outcome == SUCCEEDED for outcome in ended.values())
        catalog.tasks.finish(task_id, succeeded, len(ended) - succeeded)
