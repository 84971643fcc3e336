"""Two minutes of a steady load leave nothing behind; ten are run by hand: `make soak`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.soak.run import WARM_UP_SECONDS, soak

MINUTES = 2.0


@pytest.mark.timeout(WARM_UP_SECONDS + MINUTES * 60 + 240)
def test_nothing_grows_under_a_steady_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    with capsys.disabled():
        print()
        code = soak(MINUTES, tmp_path / "run", report)
    numbers: dict[str, Any] = json.loads(report.read_text("utf-8"))
    assert numbers["grew"] == []
    assert numbers["processes that ended by themselves"] == {}
    assert code == 0
    # Otherwise nothing was shown.
    done = numbers["done"]
    assert done["images succeeded"] > 150
    assert done["images failed"] > 5
    assert done["images deleted by name"] > 30
    assert done["products deleted"] > 10
    assert done["collections deleted"] > 2
    assert done["searches"] > 40
    assert {"MB of memory of index", "MB of memory of mongo", "rows of images"} <= set(
        numbers["sizes"]
    )
