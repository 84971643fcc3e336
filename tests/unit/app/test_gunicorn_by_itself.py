"""Why the API has a worker of its own: what gunicorn's does.

A test that fails tells that gunicorn has changed: see app/serving/worker.py.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import PollableMethodQueue, ThreadWorker


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def test_it_gives_a_thread_to_a_client_of_which_nothing_has_come() -> None:
    submitted: list[Any] = []

    def submit(_work: Any, conn: Any) -> Future[Any]:
        submitted.append(conn)
        return Future()

    worker = ThreadWorker.__new__(ThreadWorker)
    worker.tpool = SimpleNamespace(submit=submit)
    worker.enqueue_req("a silent client")
    assert submitted == ["a silent client"]


class Orphan(ThreadWorker):  # type: ignore[misc]
    """gunicorn's worker after the death of its parent, with one connection for two more rounds."""

    def __init__(self, listener: socket.socket) -> None:
        self.cfg = SimpleNamespace(graceful_timeout=30)
        self.log = SimpleNamespace(info=lambda *_: None)
        self.ppid, self.alive, self._accepting = -1, True, False
        self.nr_conns, self.worker_connections = 1, 10
        self.sockets = [listener]
        self.poller, self.method_queue = selectors.DefaultSelector(), PollableMethodQueue()
        self.method_queue.init()
        self.tpool = SimpleNamespace(shutdown=lambda **_: None)
        self.keepalived_conns = self.pending_conns = ()
        self.was_listening: list[bool] = []

    def notify(self) -> None:
        """Do nothing in place of the heartbeat."""

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        self.was_listening.append(self.sockets[0].fileno() != -1)
        self.nr_conns = int(len(self.was_listening) < 3)


def test_without_its_parent_it_holds_the_port_until_its_last_connection_has_ended(
    listener: socket.socket,
) -> None:
    orphan = Orphan(listener)
    orphan.run()
    assert orphan.was_listening == [True, True, True]
    assert listener.fileno() == -1
