"""Check the clock before rows are judged by their times.

The first step that needs the time does so, once in each slice of the steps (`workers.sweeps.step`).
Without it, leases that no process could renew, as while MongoDB was away, would count as unclean
ends and fail their images.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from catalog.rows.row_clock import Look
from config.settings import settings
from workers.support.resources import catalog

log = structlog.get_logger(__name__)


def look_at_clock() -> Look:
    """Correct the times that a jump of the clock or a long silence made wrong.

    Return the time to judge rows by. A warning is logged by the process that corrects something.
    Raises PyMongoError.
    """
    chosen = settings()
    # A lease that is renewed in time has at least this left.
    renewable = chosen.lease_seconds - chosen.lease_renewal_seconds
    look = catalog().clock.look(timedelta(seconds=max(renewable, 2 * chosen.sweep_seconds)))
    if look.unseen:
        log.warning(
            "no sweep for a while, or the clock jumped: leases were extended",
            seconds=look.unseen.total_seconds(),
            chunks=look.rows,
        )
    if look.set_back:
        log.warning(
            "the clock was set back, due times were limited",
            seconds=look.set_back.total_seconds(),
            rows=look.rows,
        )
    return look
