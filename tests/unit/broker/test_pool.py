"""A pool's child that is told to end does so in seconds, whatever its parent still reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from billiard import pool

import workers
from broker.celery_fixes import result_wait
from broker.celery_fixes.result_wait import RESULT_READ_SECONDS


def test_a_child_whose_last_result_is_never_read_ends_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = "GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT"
    monkeypatch.setattr(pool, limit, getattr(pool, limit))
    result_wait.install()
    waits: list[float] = []
    monkeypatch.setattr(pool, "time", SimpleNamespace(sleep=waits.append))
    child = SimpleNamespace(on_ready_counter=SimpleNamespace(value=6))
    assert pool.Worker._ensure_messages_consumed(child, completed=6)
    assert waits == []
    assert not pool.Worker._ensure_messages_consumed(child, completed=7)
    assert sum(waits) == pytest.approx(RESULT_READ_SECONDS) == pytest.approx(5)


def test_every_worker_has_such_a_pool(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_REDIS_URL", "redis://127.0.0.1:1/0")
    script = """
from billiard import pool
from broker.celery_app import app
app.loader.import_default_modules()
print(pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(workers.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["50"]
