"""The times of a catalogue are said twice, for those who open one without settings: alike."""

from __future__ import annotations

import pytest
from pymongo import MongoClient

from catalog.times import Times
from config.settings import Settings
from workers import wiring


def test_the_times_of_a_catalogue_are_those_that_the_settings_have_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Times] = []
    monkeypatch.setattr(wiring, "open_catalog", lambda _, __, times: opened.append(times))
    with MongoClient[dict[str, object]](connect=False) as client:
        wiring.catalog_of(Settings(), client)
    assert opened == [Times()]
