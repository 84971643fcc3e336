"""What every worker does before it takes a message, and how often it is probed."""

from __future__ import annotations

from typing import Any

import pytest

from broker.celery_settings import celery_settings
from config.settings import settings


def configuration(environment: pytest.MonkeyPatch, **chosen: str) -> dict[str, Any]:
    environment.setenv("SNAPSKU_REDIS_URL", "redis://127.0.0.1:1/0")
    for name, value in chosen.items():
        environment.setenv(f"SNAPSKU_{name.upper()}", value)
    settings.cache_clear()
    return celery_settings(settings())


@pytest.mark.parametrize(
    "module",
    [
        "workers.support.start",
        "workers.support.probe",
        "workers.support.process_reporter",
    ],
)
def test_every_worker_loads_what_compares_the_schema_answers_probes_reports_and_repairs(
    environment: pytest.MonkeyPatch, module: str
) -> None:
    assert module in configuration(environment)["imports"]


def test_queues_are_probed_as_often_as_the_settings_say(environment: pytest.MonkeyPatch) -> None:
    found = configuration(environment, probe_seconds="1.5")
    probes = [entry for name, entry in found["beat_schedule"].items() if "probe" in name]
    assert {entry["schedule"].seconds for entry in probes} == {1.5}
