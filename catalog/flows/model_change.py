"""Changes of the model of a collection: beginning, continuing, cancelling, and their progress.

The workers do the work of a change; these functions only read and write rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from catalog.rows.changes import Change, ChangeState
from catalog.rows.collections import CollectionRow
from catalog.store import Catalog

#: The limit of chunks read to count images under way; a change has fewer at a time.
CHUNKS = 1000


class BeginAnswer(Enum):
    """The result of `begin_change`."""

    BEGUN = auto()
    GOES_ON = auto()
    UNDER_WAY = auto()
    HAS_NO_MODEL = auto()
    HAS_THIS_MODEL = auto()
    OTHER_CHANGE = auto()  #: a change to another model, or a cancellation, is not over
    CHANGED_MEANWHILE = auto()


class CancelAnswer(Enum):
    """The result of `cancel_change`."""

    CANCELLED = auto()
    WAS_CANCELLED = auto()
    NO_CHANGE = auto()
    HAS_SWITCHED = auto()


@dataclass(frozen=True, kw_only=True)
class ChangeProgress:
    """The progress of a change, in images."""

    under_way: int
    lost: int  #: images that the next model could not embed


@dataclass(frozen=True, kw_only=True)
class LostImage:
    """An image that the next model could not embed; `reason` is a message of the contract."""

    product_id: str
    image_id: str
    reason: str


def begin_change(
    catalog: Catalog, row: CollectionRow, target: str, *, accept_losses: bool
) -> BeginAnswer:
    """Begin the change of a collection to a model, or continue one that waits.

    A change that waits tries to embed its lost images again; with `accept_losses`, it goes on
    without them.
    """
    found = catalog.changes.find(row.key, row.generation)
    if found is None:
        if row.model_id is None:
            return BeginAnswer.HAS_NO_MODEL
        if row.model_id == target:
            return BeginAnswer.HAS_THIS_MODEL
        # Losses of an earlier change that was cancelled.
        catalog.losses.forget(row.generation)
        begun = catalog.changes.begin(row.key, row.model_id, target, accept_losses=accept_losses)
        return BeginAnswer.BEGUN if begun else BeginAnswer.CHANGED_MEANWHILE
    if found.target != target or found.state in (ChangeState.SWITCHED, ChangeState.CANCELLED):
        return BeginAnswer.OTHER_CHANGE
    if found.state is ChangeState.RUNNING and found.accepts_losses >= accept_losses:
        return BeginAnswer.UNDER_WAY
    if not accept_losses:
        catalog.losses.forget(row.generation)
    gone_on = catalog.changes.go_on(found, accept_losses=accept_losses)
    return BeginAnswer.GOES_ON if gone_on else BeginAnswer.CHANGED_MEANWHILE


def cancel_change(catalog: Catalog, row: CollectionRow) -> CancelAnswer:
    """Cancel the change of a collection, so that it keeps its model.

    New collections get that model again as well, if they got the target of the change.
    """
    found = catalog.changes.find(row.key, row.generation)
    if found is None:
        return CancelAnswer.NO_CHANGE
    if found.state is ChangeState.CANCELLED:
        return CancelAnswer.WAS_CANCELLED
    if found.state is ChangeState.SWITCHED or not catalog.changes.cancel(found):
        return CancelAnswer.HAS_SWITCHED
    current = catalog.models.current()
    source = catalog.models.known().get(found.source)
    if current is not None and source is not None and current.model_id == found.target:
        catalog.models.begin_with(source)
    return CancelAnswer.CANCELLED


def progress_of(catalog: Catalog, change: Change) -> ChangeProgress:
    """Return how many images of a change are in its chunks, and how many are lost."""
    chunks = catalog.chunks.of_change(change.generation, CHUNKS)
    losses = catalog.losses.of_generation(change.generation, change.target)
    embedded = catalog.vectors.present([loss.label for loss in losses], [change.target])
    return ChangeProgress(
        under_way=len({label for chunk in chunks for label in chunk.labels}),
        lost=len(losses) - len(embedded),
    )


def lost_images(catalog: Catalog, row: CollectionRow) -> list[LostImage]:
    """Return the findable images of a collection that its next model could not embed.

    Without a change under way, those of its present model. Return [] if there are none.
    """
    model_id = row.next_model or row.model_id or ""
    losses = catalog.losses.of_generation(row.generation, model_id)
    images = catalog.images.find([loss.label for loss in losses])
    embedded = catalog.vectors.present(list(images), [model_id])
    return [
        LostImage(
            product_id=images[loss.label].product_id,
            image_id=images[loss.label].image_id,
            reason=loss.reason,
        )
        for loss in losses
        if loss.label in images and images[loss.label].is_findable and loss.label not in embedded
    ]
