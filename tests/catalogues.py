"""Catalogues as the settings have them by default, for tests that choose no times."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from catalog.database.durations import Times
from catalog.store import Catalog, open_catalog, times_of
from config.settings import Settings


def default_times(**changes: timedelta) -> Times:
    """Return the times by default, whatever the environment says, with some changed."""
    return replace(times_of(Settings.model_construct()), **changes)


def default_catalog(client: Any, name: str) -> Catalog:
    """Return the catalogue of that name, with the times by default."""
    return open_catalog(client, name, default_times())
