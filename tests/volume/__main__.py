"""`python -m tests.volume --images N`: times of the service beside those of a small one.

Exit code 0 where no time is more than 1.5 times that of the small service, 1 where one is.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from tests.volume.catalog import Shape
from tests.volume.files import made
from tests.volume.run import run, small_shape

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Make the catalogue that the command line asks for, and measure it."""
    parser = argparse.ArgumentParser(prog="volume", description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=ROOT / "volume-data", help="keeps the files")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="of how often each is called")
    parser.add_argument("--report", type=Path, help="write all times to this JSON file")
    parser.add_argument("--generate-only", action="store_true", help="measure nothing")
    chosen = parser.parse_args()
    # As Ctrl-C does: what runs is stopped, and the copies go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shape = Shape(chosen.images, chosen.seed)
    if chosen.generate_only:
        for one in (small_shape(shape), shape):
            made(chosen.folder, one)
        return 0
    return run(chosen.folder, shape, chosen.runs, chosen.scale, chosen.report)


if __name__ == "__main__":
    raise SystemExit(main())
