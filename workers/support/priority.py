"""The priority of a worker against the other processes of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

#: Linux shares a processor among sessions first; a process's own niceness counts only within
#: its session, and the session has one of its own here. See sched(7), "autogroup".
_SESSION_NICENESS = Path("/proc/self/autogroup")


def give_way(niceness: int) -> None:
    """Lower the priority of this child of a pool, and of its worker's session.

    The session is left alone if the worker shares it with others, such as a shell.
    """
    os.nice(niceness)
    worker_leads_session = os.getsid(0) == os.getppid()
    if niceness and worker_leads_session and _SESSION_NICENESS.exists():
        try:
            _SESSION_NICENESS.write_text(str(niceness), encoding="ascii")
        except OSError as error:
            # Linux takes one such write in 0.1 s from a user who is not root. Go on without it.
            log.warning("priority of the worker's session not lowered", reason=str(error))
