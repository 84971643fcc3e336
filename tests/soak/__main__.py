"""`python -m tests.soak --minutes N`: a steady load, after which nothing may have grown.

Exit code 0 where all sizes stayed level, 1 where one grew or a process ended by itself.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.soak.run import soak


def main() -> int:
    """Do the run that the command line asks for."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="after a warm-up")
    parser.add_argument("--report", type=Path, help="write all numbers to this JSON file")
    parser.add_argument("--folder", type=Path, help="where data and logs go; it must not be there")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="soak-")) / "run"
    return soak(chosen.minutes, folder, chosen.report)


if __name__ == "__main__":
    raise SystemExit(main())
