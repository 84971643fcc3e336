"""Which processes of a worker report on themselves."""

from __future__ import annotations

from typing import Any

import pytest

from workers.support import process_reporter


def started_by(monkeypatch: pytest.MonkeyPatch, module: str) -> int:
    """Return how many reporters a worker starts whose pool is of this module."""
    started: list[None] = []
    monkeypatch.setattr(process_reporter, "_start", lambda: started.append(None))
    pool = type("TaskPool", (), {"__module__": f"celery.concurrency.{module}"})()
    sender: Any = type("Consumer", (), {"pool": pool})()
    process_reporter._in_a_pool_of_threads(sender)
    return len(started)


def test_the_parent_of_child_processes_connects_to_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert started_by(monkeypatch, "prefork") == 0
    assert started_by(monkeypatch, "thread") == 1
