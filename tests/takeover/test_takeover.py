"""A few takeovers of the index in the suite; a hundred are run by hand: `make takeover`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROUNDS = 3


@pytest.mark.timeout(180)
def test_what_has_succeeded_is_found_whenever_the_owner_of_the_index_is_frozen(
    tmp_path: Path,
) -> None:
    report = tmp_path / "report.json"
    options = ["--rounds", str(ROUNDS), "--folder", str(tmp_path / "run"), "--report", str(report)]
    run = subprocess.run(
        [sys.executable, "-m", "tests.takeover", *options],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    numbers: dict[str, Any] = json.loads(report.read_text("utf-8"))
    assert numbers["not found"] == numbers["twice"] == numbers["not ended"] == []
    # Otherwise nothing was shown.
    assert numbers["images"] == ROUNDS * 48
    assert numbers["takeovers"] > 0
    assert numbers["searches answered"] >= ROUNDS
