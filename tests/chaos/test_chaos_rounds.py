"""Five rounds of chaos on the real stack; ninety are run by hand, see docs/reliability.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.report import run_rounds

ROUNDS = 5
SEED = 4


#: A round takes 20 to 40 s on two free cores.
@pytest.mark.timeout(ROUNDS * 400)
def test_nothing_is_lost_twice_stuck_or_found_after_deletion_whatever_dies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    with capsys.disabled():
        print()
        code = run_rounds(
            ROUNDS, SEED, tmp_path / "run", report=report, sweeps=2, second_index=True
        )
    numbers: dict[str, Any] = json.loads(report.read_text("utf-8"))
    # A report of a run that shows its end alone must name what was found.
    assert [_told(one) for one in numbers["each round"] if one["findings"]] == []
    assert code == 0
    # Otherwise nothing was shown.
    assert numbers["images succeeded"] > 100
    assert numbers["images deleted"] > 10
    assert sum(numbers["faults"].values()) >= 3 * ROUNDS
    assert numbers["redeliveries"] > 0


def _told(one: dict[str, Any]) -> str:
    findings = [f"{finding['kind']}: {finding['text']}" for finding in one["findings"]]
    return "\n".join([f"round of seed {one['seed']}", *findings, *one["journal"]])
