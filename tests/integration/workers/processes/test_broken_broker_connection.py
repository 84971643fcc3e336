"""A worker whose Redis dies while it holds messages closes its connection and tries again."""

from __future__ import annotations

import logging
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Consumer, transport

from broker import celery_app
from config.embedded import free_port, valkey_command


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    with subprocess.Popen(valkey_command(tmp_path, port)) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0", process
        process.kill()


@contextmanager
def lost_broker(url: str, process: subprocess.Popen[bytes]) -> Iterator[tuple[Any, Any]]:
    """A message whose worker has lost its broker meanwhile, and its closed connection."""
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
        yield taken[0], connection


def test_neither_its_end_nor_a_late_acknowledgement_is_a_fault(
    valkey: tuple[str, subprocess.Popen[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    assert celery_app.app is not None, "the module that every worker loads sees to it"
    with lost_broker(*valkey) as (message, connection), caplog.at_level(logging.CRITICAL):
        # What the thread does that worked on the message meanwhile.
        message.ack_log_error(logging.getLogger(__name__), connection.connection_errors)
    assert "Couldn't ack" in caplog.text


def test_kombu_by_itself_makes_a_fault_of_one_of_them(
    valkey: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, kombu was repaired, and broker/celery_fixes/closed_channel.py may go."""
    monkeypatch.setitem(transport.TRANSPORT_ALIASES, "redis", "kombu.transport.redis:Transport")
    monkeypatch.setattr(transport, "_transport_cache", {})
    fault = pytest.raises(AttributeError, match="'NoneType' object has no attribute")
    with fault, lost_broker(*valkey) as (message, connection):
        message.ack_log_error(logging.getLogger(__name__), connection.connection_errors)


def test_one_that_died_while_it_looked_for_unacknowledged_messages_keeps_others_out_for_seconds(
    valkey: tuple[str, subprocess.Popen[bytes]], process_settings: None
) -> None:
    """kombu's own five minutes are longer than anything else here waits."""
    url, _ = valkey
    options = {**celery_app.app.conf.broker_transport_options, "visibility_timeout": 1}
    with Celery("mutex", broker=url, set_as_current=False) as app:
        app.conf.broker_transport_options = options
        app.send_task("work", queue="work", ignore_result=True)
        taken: list[Any] = []
        dead = app.connection_for_read()
        Consumer(
            dead.default_channel,
            queues=[app.amqp.queues["work"]],
            callbacks=[lambda _, message: taken.append(message)],
        ).consume()
        dead.drain_events(timeout=5)
        channel = dead.default_channel
        with channel.conn_or_acquire() as client:
            client.lock(channel.unacked_mutex_key, timeout=channel.unacked_mutex_expire).acquire()
            assert 0 < client.pttl(channel.unacked_mutex_key) <= 10_000
            client.pexpire(channel.unacked_mutex_key, 200)
        time.sleep(1.2)
        other = app.connection_for_read()
        Consumer(
            other.default_channel,
            queues=[app.amqp.queues["work"]],
            callbacks=[lambda _, message: taken.append(message)],
        ).consume()
        deadline = time.monotonic() + 60
        while len(taken) < 2 and time.monotonic() < deadline:
            try:
                other.drain_events(timeout=0.5)
            except TimeoutError:
                other.default_channel.qos.restore_visible(interval=1)
        assert len(taken) == 2
        for connection in (dead, other):
            connection.collect(socket_timeout=1)
