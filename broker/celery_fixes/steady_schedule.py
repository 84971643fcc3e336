"""The time that beat goes by: one that nobody can set.

What a jump of the clock did to the times in rows is mended by catalog.rows.row_clock.

For celery 5.7; no issue upstream is known to us. May go when beat goes by a monotonic clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from celery.schedules import schedule


def steady_now() -> datetime:
    """Return a time that only ever goes forward, second by second; its date means nothing."""
    return datetime.fromtimestamp(time.monotonic(), UTC)


def every(seconds: float) -> schedule:
    """Return a schedule of beat that comes due every so many seconds, wherever the clock jumps.

    Celery's own goes by the wall clock: set back by an hour, it would send nothing for an hour.
    """
    return schedule(seconds, nowfun=steady_now)
