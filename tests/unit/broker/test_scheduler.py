"""What beat sends although it can't read what waits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import beat

from broker import scheduler
from broker.queues import MAINTENANCE, RECOVERY
from broker.scheduler import Scheduler


@pytest.mark.parametrize(
    "message", [b"no JSON", b"[]", b"{}", b'{"headers": null}', b'{"headers": "text"}']
)
def test_a_message_that_is_not_ours_keeps_beat_from_nothing(
    message: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def send(_: Scheduler, entry: Any, producer: Any = None) -> None:
        sent.append(entry.task)

    broker = SimpleNamespace(lrange=lambda *_: [message])
    monkeypatch.setattr(scheduler, "redis_client", lambda: broker)
    monkeypatch.setattr(beat.Scheduler, "apply_entry", send)
    due = SimpleNamespace(task=RECOVERY, options={"queue": MAINTENANCE})
    Scheduler.__new__(Scheduler).apply_entry(due)
    assert sent == [RECOVERY]
