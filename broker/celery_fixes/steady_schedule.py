"""Run beat's schedule by a clock that can't be set.

Times in rows are corrected after a jump of the clock by catalog.rows.row_clock.

For celery 5.7; no issue upstream is known to us. May go when beat goes by a monotonic clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from celery.schedules import schedule


def steady_now() -> datetime:
    """Return the monotonic time as a datetime; its date means nothing."""
    return datetime.fromtimestamp(time.monotonic(), UTC)


def every(seconds: float) -> schedule:
    """Return a schedule of beat that is due every `seconds`, however the wall clock is set.

    Celery's own uses the wall clock: set back by an hour, it would send nothing for an hour.
    """
    return schedule(seconds, nowfun=steady_now)
