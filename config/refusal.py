"""How a process ends that would only end again: with one clear line and a code of its own.

Whoever supervises it reads the code and does not start it again. It is EX_CONFIG of
sysexits.h; deploy/systemd and `snapsku up` name it.
"""

from __future__ import annotations

import sys
from typing import NoReturn

#: The exit code of a process that a restart can't mend.
REFUSED = 78


def refuse(reason: str) -> NoReturn:
    """End the process because of what only a person can change; `reason` is one line."""
    print(f"snapsku: {reason}", file=sys.stderr)
    raise SystemExit(REFUSED)
