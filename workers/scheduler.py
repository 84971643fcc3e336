"""The scheduler of beat: Celery's own, kept in memory, that a stop ends at any moment.

Knows nothing of what is scheduled, which is in `workers.celery_conf`.
"""

from __future__ import annotations

from celery import beat


class Scheduler(beat.Scheduler):  # type: ignore[misc]
    """Celery's scheduler, whose process a SIGTERM ends even in the middle of a send."""

    def close(self) -> None:
        """Do nothing: there is no file to write, and the connection ends with the process.

        Beat's handler of SIGTERM calls this and then raises SystemExit. Were the connection closed
        here, under a send that waits for its answer, redis-py would fail on the closed buffer, and
        beat would log that error in place of the SystemExit, and go on.
        """
