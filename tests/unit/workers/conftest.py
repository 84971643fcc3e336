"""An environment without the settings of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.isolation import isolated_environment


@pytest.fixture(autouse=True)
def environment(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """No SNAPSKU_ variable but the data directory, and an empty working folder."""
    with isolated_environment(tmp_path, SNAPSKU_DATA_DIR=str(tmp_path / "data")) as patch:
        yield patch
