"""The maintenance queue: what is done in the background without being asked.

Beat sends each kind of work every few seconds. Two at once share it, in one process or in
several; the kinds do not wait for each other.
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
    """Do one after the other what beat sends apart."""
    for work in (recover, change_models, end_deletions, recount_collections, forget):
        work()
