"""The isolation of unit tests from the machine's own settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.settings import settings


@contextmanager
def isolated_environment(folder: Path, **kept: str) -> Iterator[pytest.MonkeyPatch]:
    """Yield a patch of an environment with no SNAPSKU_ variables but `kept`.

    The working folder is `folder`, so no settings file is found there. No settings are cached
    before or after.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SNAPSKU_")]:
            patch.delenv(name)
        for name, value in kept.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        settings.cache_clear()
        yield patch
    settings.cache_clear()
