"""The times of a catalogue are those of the settings."""

from __future__ import annotations

from datetime import timedelta

from catalog.database.durations import Durations
from catalog.store import durations_of
from config.settings import Settings


def test_each_time_of_a_catalogue_comes_from_its_setting() -> None:
    chosen = Settings(
        lease_seconds=31,
        submission_seconds=2,
        recount_seconds=3,
        task_seconds=86_404,
        deleted_seconds=5,
        key_seconds=86_400,
    )
    assert durations_of(chosen) == Durations(
        lease=timedelta(seconds=31),
        submission=timedelta(seconds=2),
        recount=timedelta(seconds=3),
        task=timedelta(seconds=86_404),
        deleted=timedelta(seconds=5),
        key=timedelta(days=1),
    )
