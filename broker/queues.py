"""The queues, and the names of the tasks that are sent to them."""

from __future__ import annotations

from catalog.rows.chunks import Stage

#: Queues besides those of the stages.
SEARCH = "search"
NEIGHBOURS = "neighbours"
MAINTENANCE = "maintenance"
QUEUES = (*(stage.value for stage in Stage), SEARCH, NEIGHBOURS, MAINTENANCE)


def task_name(queue: str) -> str:
    """Return the name of the task that does the work of a queue."""
    return f"workers.{queue}"


#: Tasks that share the queue of another: PROBE any queue, the others that of the index.
REFRESH = "workers.refresh"
DROP = "workers.drop"
SWITCH = "workers.switch"
RETIRE = "workers.retire"
PROBE = "workers.probe"

#: Background work, all on the maintenance queue; beat sends each every few seconds.
RECOVERY = "workers.recovery"
DELETIONS = "workers.deletions"
RETENTION = "workers.retention"
RECOUNTS = "workers.recounts"
MODEL_CHANGES = "workers.model_changes"
SWEEPS = (RECOVERY, DELETIONS, RETENTION, RECOUNTS, MODEL_CHANGES)

#: All background work in one task, as beat of the release before sends it.
SWEEP = "workers.sweep"
