"""The end of a chunk: each of its images has an outcome, in the rows and as Celery's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.results import store_outcomes
from catalog.flows.task_standing import Outcome, end_task, outcomes_of_chunk, outcomes_of_rows
from catalog.rows.chunks import Chunk
from catalog.store import Catalog
from contract.errors import ContractError


def conclude(
    catalog: Catalog, chunk: Chunk, faults: Mapping[int, ContractError] | None = None
) -> None:
    """Finish a chunk all of whose images have an outcome; do nothing if its lease is lost.

    `faults` are the outcomes of images without a row, by label, unless they ended before.
    """
    outcomes = outcomes_of_rows(catalog, chunk, faults or {})
    if catalog.chunks.finish(chunk, [outcome.outcome for outcome in outcomes]):
        _settle(catalog, chunk, outcomes)


def settle(catalog: Catalog, chunk: Chunk) -> None:
    """Repeat what follows the end of a chunk that was interrupted before it was settled."""
    _settle(catalog, chunk, outcomes_of_chunk(chunk))


def _settle(catalog: Catalog, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
    store_outcomes(chunk.id, outcomes)
    end_task(catalog, chunk.task_id)
    catalog.chunks.settle(chunk.id)
