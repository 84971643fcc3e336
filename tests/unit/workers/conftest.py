"""A Redis in memory, and an environment without the settings of whoever runs the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest

from config.settings import settings


@pytest.fixture(autouse=True)
def environment(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """No SNAPSKU_ variable but the data directory, and nothing remembered before or after."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SNAPSKU_")]:
            patch.delenv(name)
        patch.setenv("SNAPSKU_DATA_DIR", str(tmp_path / "data"))
        patch.chdir(tmp_path)
        settings.cache_clear()
        yield patch
    settings.cache_clear()


@pytest.fixture
def redis_client() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis() as client:
        yield client
