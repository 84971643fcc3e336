"""A clock that cannot be set and that runs while the machine sleeps, if the system has one."""

from __future__ import annotations

import time

#: The id of the clock for `time.clock_gettime`.
STEADY_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_seconds() -> float:
    """Return the seconds of the clock; only differences between them mean something."""
    return time.clock_gettime(STEADY_CLOCK)
