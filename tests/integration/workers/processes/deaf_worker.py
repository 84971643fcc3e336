"""Loaded into a worker by a test: a task that takes long, and a command that makes it deaf."""

from __future__ import annotations

import time
from typing import Any

from celery.worker.control import control_command

from broker.celery_app import app


@app.task(name="tests.take_long")
def take_long(seconds: float) -> None:
    time.sleep(seconds)


@control_command()
def deafen(panel: Any) -> dict[str, str]:
    """Leave the consumer as celery issue 8030 does: its connection stays open and is not read.

    What kombu does at each turn of the event loop is gone, and so is the socket.
    """
    hub = panel.consumer.hub
    for callback in [one for one in hub.on_tick if "register_with_event_loop" in one.__qualname__]:
        hub.on_tick.discard(callback)
    poller = panel.consumer.task_consumer.channel.connection.cycle
    for descriptor, (_, kind) in poller.fds.items():
        if kind == "BRPOP":
            hub.remove_reader(descriptor)
    return {"ok": "deaf"}
