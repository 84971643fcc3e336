"""A clock that cannot be set and that runs while the machine sleeps, if the system has one."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_seconds() -> float:
    """Return the seconds of the clock; only differences of it mean something."""
    return time.clock_gettime(_CLOCK)
