"""Files made to do harm: each ends as it must, in bounded time and memory, and none crashes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
#: Seconds of the processor: ten times the 0.7 that were measured for the worst.
MOST_SECONDS = 7.0
#: Measured: 370 MiB for the worst.
MOST_BYTES = 420 * 2**20
#: Ten times the 0.03 that were measured. This is what the API pays, before it answers.
MOST_SECONDS_JUDGED = 0.3


@pytest.fixture(scope="module")
def figures() -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.decoding_figures"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"after {done.stdout.splitlines()[-1:]}: {done.stderr[-2000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_hostile_picture_ends_as_it_must(figures: list[dict[str, Any]]) -> None:
    assert len(figures) >= 200
    assert [row for row in figures if row["decoded"] != row["expected"]] == []
    assert [row for row in figures if row["judged"] not in (None, row["expected"])] == []
    assert [row for row in figures if row["warnings"]] == []
    assert [row for row in figures if row["blank"] != row["seen_blank"]] == []


def test_no_hostile_picture_takes_much_time_or_memory(
    figures: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    judged = max(figures, key=lambda row: row["inspect_seconds"])
    slowest = max(figures, key=lambda row: row["decode_seconds"])
    largest = max(figures, key=lambda row: row["peak_bytes"])
    with capsys.disabled():
        print(
            f"\n{len(figures)} files; judged in at most {judged['inspect_seconds']:.3f} s"
            f" ({judged['name']}), decoded in {slowest['decode_seconds']:.2f} s"
            f" ({slowest['name']}) and {largest['peak_bytes'] / 2**20:.0f} MiB"
            f" ({largest['name']})"
        )
    assert judged["inspect_seconds"] < MOST_SECONDS_JUDGED, judged
    assert slowest["decode_seconds"] < MOST_SECONDS, slowest
    assert largest["peak_bytes"] < MOST_BYTES, largest
