"""A worker whose Redis dies while it holds messages closes its connection and tries again."""

from __future__ import annotations

import logging
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Consumer

from config.embedded import free_port, valkey_command
from workers import broker


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    with subprocess.Popen(valkey_command(tmp_path, port)) as process:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0", process
        process.kill()


def test_neither_its_end_nor_a_late_acknowledgement_is_a_fault(
    valkey: tuple[str, subprocess.Popen[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    url, process = valkey
    assert broker.app is not None, "the module that every worker loads sees to it"
    with Celery("broken", broker=url, set_as_current=False) as app:
        app.send_task("work", queue="work", ignore_result=True)
        connection = app.connection_for_read()
        taken: list[Any] = []
        consumer = Consumer(
            connection.default_channel,
            queues=[app.amqp.queues["work"]],
            callbacks=[lambda _, message: taken.append(message)],
        )
        consumer.consume()
        connection.drain_events(timeout=5)
        assert len(taken) == 1
        # A worker has a second channel, for remote control; both wait for messages.
        control = connection.channel()
        Consumer(control, queues=[app.amqp.queues["other"]]).consume()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.5)
        process.kill()
        process.wait()
        # What celery.worker.consumer does when its connection is lost.
        connection.collect(socket_timeout=1)
        connection.close()
        # And what the thread does that worked on the message meanwhile.
        with caplog.at_level(logging.CRITICAL):
            taken[0].ack_log_error(logging.getLogger(__name__), connection.connection_errors)
        assert "Couldn't ack" in caplog.text
