"""End a process for a fault that a restart can't mend: one line on stderr, exit code 78.

The code is EX_CONFIG of sysexits.h. `snapsku up` and the units in deploy/systemd do not restart a
process that ends with it.
"""

from __future__ import annotations

import sys
from typing import NoReturn

#: Exit code of a process that a restart can't mend.
REFUSED = 78


def refuse(reason: str) -> NoReturn:
    """Print `reason`, one line, to stderr and raise SystemExit(REFUSED).

    For faults that only an operator can mend, such as a bad setting.
    """
    print(f"snapsku: {reason}", file=sys.stderr)
    raise SystemExit(REFUSED)
