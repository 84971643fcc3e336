"""`python -m tests.chaos --rounds N --seed S`: breaks things on purpose, and audits what is left.

Exit code 0 where every round was clean, 1 where one was not.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.chaos.faults import WEIGHTS
from tests.chaos.report import run_rounds


def main() -> int:
    """Do the rounds that the command line asks for."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=int, default=70, help="about how many a round takes in")
    parser.add_argument("--report", type=Path, help="write all numbers to this JSON file")
    parser.add_argument("--folder", type=Path, help="where data and logs go; it must not be there")
    parser.add_argument(
        "--known", action="append", default=[], help="a kind of finding that is left out"
    )
    parser.add_argument(
        "--only", action="append", default=[], choices=list(WEIGHTS), help="hurt only this kind"
    )
    parser.add_argument(
        "--clocks",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="the clock of each kind of process is off by up to so much; servers keep true time",
    )
    parser.add_argument(
        "--sweeps", type=int, default=1, help="maintenance processes, each with a beat"
    )
    parser.add_argument(
        "--second-index",
        action="store_true",
        help="in a third of the rounds a second index process on another folder takes over",
    )
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="chaos-")) / "run"
    return run_rounds(
        chosen.rounds,
        chosen.seed,
        folder,
        images=chosen.images,
        known=chosen.known,
        only=chosen.only,
        report=chosen.report,
        clocks_seconds=chosen.clocks,
        sweeps=chosen.sweeps,
        second_index=chosen.second_index,
    )


if __name__ == "__main__":
    raise SystemExit(main())
