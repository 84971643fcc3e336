"""Beat goes by a clock that can't be set, and keeps no file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.utils.imports import symbol_by_name

from broker.celery_fixes import steady_schedule as clock
from broker.celery_fixes.steady_schedule import every
from broker.celery_settings import celery_settings
from broker.scheduler import Scheduler
from config.settings import settings


class Recorder(Scheduler):
    """Beat's own scheduler, which notes what it would send."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        self.sent = [*getattr(self, "sent", []), entry.name]

    @property
    def producer(self) -> None:
        return None


class SteadyClock:
    """The clock of `every`, which goes when the test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


def ticks(scheduler: Recorder, steady: SteadyClock, seconds: float) -> list[str]:
    """Run the scheduler as beat does for so long; give what came due."""
    scheduler.sent = []
    deadline = steady.seconds + seconds
    while steady.seconds < deadline:
        scheduler.tick()
        steady.seconds += 0.02
    return list(scheduler.sent)


@pytest.mark.parametrize("step", [3600, -3600])
def test_a_clock_that_jumps_neither_stops_nor_hurries_beat(
    monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    steady = SteadyClock()
    monkeypatch.setattr(clock, "time", steady)
    app = Celery("beat", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {"sweep": {"task": "sweep", "schedule": every(0.1)}}
    scheduler = Recorder(app)
    assert 2 <= len(ticks(scheduler, steady, 0.45)) <= 5
    # The clock that Celery's own schedules go by.
    jumped = timedelta(seconds=step)
    monkeypatch.setattr(app, "now", lambda: datetime.now(UTC) + jumped)
    assert 2 <= len(ticks(scheduler, steady, 0.45)) <= 5


def test_beat_keeps_no_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("SNAPSKU_REDIS_URL", "redis://127.0.0.1:1/0")
    found = celery_settings(settings())
    assert symbol_by_name(found["beat_scheduler"]) is Scheduler
    assert "beat_schedule_filename" not in found
    assert list(tmp_path.rglob("*")) == []
