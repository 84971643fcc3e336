"""Changes of the model: each is driven on."""

from __future__ import annotations

from collections.abc import Sequence

from broker.celery_app import app
from broker.queues import MODEL_CHANGES
from catalog.rows.changes import Change
from config.settings import settings
from workers.support.model_change import advance_change
from workers.support.resources import catalog
from workers.sweeps.step import Share, Step, take_steps


@app.task(name=MODEL_CHANGES)
def change_models() -> None:
    """Drive all changes of the model on."""
    take_steps(STEPS, settings().sweep_seconds)


def _drive(share: Share) -> None:
    def drive_all(changes: Sequence[Change]) -> None:
        for change in changes:
            advance_change(change)

    share.go_through(catalog().changes.due, lambda change: change.generation, drive_all)


STEPS = (Step("model changes", _drive),)
