"""Changes of the model: each is brought one step further."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.changes import Change
from config.settings import settings
from workers.broker import MODEL_CHANGES, app
from workers.changes import drive
from workers.resources import catalog
from workers.sweeps.step import Share, Step, take_steps


@app.task(name=MODEL_CHANGES)
def change_models() -> None:
    """Bring the changes of the model further."""
    take_steps(STEPS, settings().sweep_seconds)


def _drive(share: Share) -> None:
    def drive_all(changes: Sequence[Change]) -> None:
        for change in changes:
            drive(change)

    share.go_through(catalog().changes.due, lambda change: change.generation, drive_all)


STEPS = (Step("model changes", _drive),)
