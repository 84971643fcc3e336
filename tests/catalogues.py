"""Catalogues as the settings have them by default, for tests that choose no times."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from catalog.database.durations import Durations
from catalog.store import Catalog, durations_of, open_catalog
from config.settings import Settings


def default_durations(**changes: timedelta) -> Durations:
    """Return the times by default, whatever the environment says, with some changed."""
    return replace(durations_of(Settings.model_construct()), **changes)


def default_catalog(client: Any, name: str) -> Catalog:
    """Return the catalogue of that name, with the times by default."""
    return open_catalog(client, name, default_durations())
