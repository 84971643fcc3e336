"""The maintenance queue: background work that nothing but beat asks for.

Beat sends each kind of work every few seconds. Two messages of one kind, in one process or in
several, share its work; the kinds do not wait for each other.
"""

from __future__ import annotations

from broker.celery_app import app
from broker.queues import SWEEP
from workers.sweeps.deletions import end_deletions
from workers.sweeps.model_changes import change_models
from workers.sweeps.recounts import recount_collections
from workers.sweeps.recovery import recover
from workers.sweeps.retention import forget


@app.task(name=SWEEP)
def sweep() -> None:
    """Do all kinds of background work in turn, for a message from beat of the release before."""
    for work in (recover, change_models, end_deletions, recount_collections, forget):
        work()
