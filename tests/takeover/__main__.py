"""`python -m tests.takeover --rounds N --seed S`: freezes the index's owner, and asks for images.

Exit code 0 where every image that had succeeded was found by the next search, 1 where one was not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.takeover.stack import stack


def main() -> int:
    """Do the rounds that the command line asks for."""
    parser = argparse.ArgumentParser(prog="takeover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="write all numbers to this JSON file")
    parser.add_argument("--folder", type=Path, help="where data and logs go; it must not be there")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="takeover-")) / "run"
    with stack(folder) as processes:
        # The settings of the stack are in the environment from here on, and not before.
        from tests.takeover.rounds import Rounds

        rounds = Rounds(processes, chosen.seed)
        # Ctrl-C ends a run early, with the numbers of the rounds that were done.
        with suppress(KeyboardInterrupt):
            rounds.run(chosen.rounds)
    print(rounds.table())
    if chosen.report:
        chosen.report.write_text(json.dumps(rounds.numbers(), indent=1), encoding="utf-8")
    if not rounds.is_clean:
        print(f"logs and data: {folder}")
    return 0 if rounds.is_clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
