"""gunicorn's worker with threads, for clients that can't be trusted to be quick.

A thread gets a request when all of it is there, and is free again when its answer is made: the
worker's loop reads and writes for all connections, so a client that sends or takes one byte a
second occupies a connection, and never a thread. Each of the three phases, arriving, being answered
and ending, has a deadline; if connections or memory run short, the connection that has waited for
the longest is ended first.

waitress 3.0.2 was tried instead on 30 November 2026. With its settings alone, 36 of the 48 tests of
slow clients and malformed requests fail: it refuses in plain text without a request id, a byte a
second holds a connection past its deadline, none is ended to make room if connections or memory run
short, and a stop cuts off clients that still send. With some 200 lines on its inner classes, 5
fail: it answers requests that were sent at once whether or not the client takes the answers (40
clients: 930 MB), and takes chunks of HTTP/1.0 for the next request. More processes would need a
parent of our own.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import structlog
from gunicorn.http import wsgi
from gunicorn.http.errors import (
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    ParseException,
)
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from app.serving.patient_socket import PatientSocket
from app.serving.raw_answer import (
    BUSY,
    FAULT,
    HEAD_TOO_LONG,
    MALFORMED,
    TOO_SLOW,
    RawAnswer,
)
from app.serving.request_buffer import Arrival
from config.settings import settings

log = structlog.get_logger(__name__)

#: Most bytes that are read from one connection at a time.
PIECE_BYTES = 256 * 1024

#: After the answer, what the client still sends is discarded for so long.
ENDING_SECONDS = 2.0

#: Seconds that a stopping worker gives a request that is still arriving.
STOP_SECONDS = 5.0

#: Seconds between two checks of the deadlines.
LOOK_SECONDS = 0.5

#: A TLS client begins with this byte, that of a handshake record, and no request of HTTP does.
TLS_FIRST_BYTE = b"\x16"

#: TLS on this port is logged once in so many seconds at most: a client that is set up wrongly, or
#: a scanner, comes again and again.
TLS_NOTE_SECONDS = 60.0

# The header Server of every answer.
wsgi.SERVER = "snapsku"


@dataclass
class Wait:
    """A connection that waits for its client."""

    conn: Any
    deadline: float
    arrival: Arrival | None = None
    held_bytes: int = 0
    began: float = field(default_factory=time.monotonic)


class ApiWorker(ThreadWorker):  # type: ignore[misc]
    """The worker that this module describes; it also frees its port when its parent is dead.

    gunicorn's own goes on with the connections that it has, for as long as a graceful stop may
    take, and listens meanwhile: the next parent can't bind the port, and new clients get no answer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client_seconds = settings().client_seconds
        self._body_bytes = settings().body_bytes
        self._held_limit = settings().clients_bytes
        self._held_bytes = 0
        self._waits: dict[PatientSocket, Wait] = {}  # in the order in which they began
        self._looked_at = 0.0
        self._tls_told_at = float("-inf")
        self._stops_at: float | None = None

    def is_parent_alive(self) -> bool:
        """Return whether the parent lives; if not, stop listening and keep no connection."""
        if super().is_parent_alive():
            return True
        self.alive = False
        self.set_accept_enabled(False)
        for listener in self.sockets:
            # Connections that the system has accepted already would be cut off with the listener.
            for _ in range(self.cfg.backlog):
                before = self.nr_conns
                self.accept(listener)
                if self.nr_conns == before:
                    break
            listener.close()
        return False

    def accept(self, listener: Any) -> None:
        """Accept a connection; without a free descriptor, end the oldest one instead."""
        try:
            accepted, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._end_oldest()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        self.enqueue_req(TConn(self.cfg, PatientSocket(accepted), address, listener.getsockname()))

    def enqueue_req(self, conn: Any) -> None:
        """Read a request from a connection, then have a thread answer it."""
        wait = Wait(conn, time.monotonic() + self._client_seconds, Arrival(self._body_bytes))
        early, conn.sock.early = conn.sock.early, b""
        self._begin(wait, selectors.EVENT_READ, self._receive)
        if early:
            self._take(wait, early)
        else:
            # Read at once, since a stopping worker ends the connections of which nothing came.
            self._receive(wait)

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """Send the rest of an answer, then keep or end its connection."""
        try:
            # Where the next request begins is known only if this one was there as a whole.
            is_kept = bool(fs.result()) and conn.sock.is_whole
            is_sent = conn.sock.flush()
        except Exception:
            # The client has gone, or the request failed, and gunicorn has logged why.
            self._close(conn)
            return
        if is_sent:
            self._sent(conn, is_kept)
            return
        wait = Wait(conn, time.monotonic() + self._client_seconds)

        def send(_sock: Any) -> None:
            try:
                if not conn.sock.flush():
                    return
            except OSError:
                self._end(wait)
                return
            self._leave(wait)
            self._sent(conn, is_kept)

        self._begin(wait, selectors.EVENT_WRITE, send)
        self._hold(wait, len(conn.sock.unsent))

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ARG002
        """Answer in the envelope a request that never reached the application."""
        # An invalid header of the application's answer is a ParseException too, but our fault.
        of_ours = isinstance(exc, InvalidResponseHeader | InvalidResponseHeaderName)
        if isinstance(exc, ParseException) and not of_ours:
            self._answer(client, MALFORMED, type(exc).__name__)
        else:
            log.error("request failed outside of the application", exc_info=exc)
            self._answer(client, FAULT, type(exc).__name__)

    def murder_pending(self) -> None:
        """End the connections past their deadline, and the oldest one if there are too many."""
        if self.nr_conns >= self.worker_connections:
            self._end_oldest()
        now = time.monotonic()
        if now < self._looked_at + LOOK_SECONDS and self.alive:
            return
        self._looked_at = now
        if not self.alive and self._stops_at is None:
            self._stops_at = now + STOP_SECONDS
        for wait in list(self._waits.values()):
            is_idle = wait.arrival is not None and not len(wait.arrival)
            if self._stops_at is not None and is_idle:
                # A kept connection whose next request may be on its way gets a moment.
                if now >= wait.began + STOP_KEEPALIVE_LINGER:
                    self._end(wait)
            elif now >= min(wait.deadline, self._stops_at or wait.deadline):
                self._end(wait, TOO_SLOW, "too slow")

    def _receive(self, wait: Wait) -> None:
        try:
            data = wait.conn.sock.receive(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._take(wait, data)
        else:
            self._end(wait)

    def _take(self, wait: Wait, data: bytes) -> None:
        arrival = wait.arrival
        assert arrival is not None  # noqa: S101
        if not len(arrival) and data.startswith(TLS_FIRST_BYTE):
            # It would wait for an answer of TLS until its deadline, and so would this worker.
            self._note_tls()
            self._end(wait)
            return
        arrival.feed(data)
        if arrival.is_too_long:
            self._end(wait, HEAD_TOO_LONG, "head too long")
        elif arrival.is_ready:
            self._leave(wait)
            request, early = arrival.taken()
            wait.conn.sock.hand_over(request, early, is_whole=arrival.is_whole)
            wait.conn.data_ready = True
            super().enqueue_req(wait.conn)
        else:
            if arrival.wants_continue:
                arrival.wants_continue = False
                with contextlib.suppress(OSError):
                    wait.conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._hold(wait, len(data))

    def _note_tls(self) -> None:
        now = time.monotonic()
        if now >= self._tls_told_at + TLS_NOTE_SECONDS:
            self._tls_told_at = now
            log.warning("TLS on the port of plain HTTP, connection closed: use http:// there")

    def _sent(self, conn: Any, is_kept: bool) -> None:
        if is_kept and conn.sock.early:
            self.enqueue_req(conn)
        elif is_kept:
            kept: Future[bool] = Future()
            kept.set_result(True)
            super().finish_request(conn, kept)
        else:
            self._linger(conn)

    def _linger(self, conn: Any) -> None:
        """Discard input for a moment: closed with bytes unread, a client loses its answer."""
        wait = Wait(conn, time.monotonic() + ENDING_SECONDS)

        def throw_away(_sock: Any) -> None:
            try:
                data = conn.sock.receive(PIECE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._end(wait)

        try:
            conn.sock.shutdown(1)
        except OSError:
            self._close(conn)
            return
        self._begin(wait, selectors.EVENT_READ, throw_away)

    def _begin(self, wait: Wait, event: int, step: Callable[[Any], None]) -> None:
        wait.conn.sock.setblocking(False)
        self._waits[wait.conn.sock] = wait
        is_arriving = wait.arrival is not None
        self.poller.register(
            wait.conn.sock, event, (lambda _sock: step(wait)) if is_arriving else step
        )

    def _hold(self, wait: Wait, size: int) -> None:
        wait.held_bytes += size
        self._held_bytes += size
        while self._held_limit and self._held_bytes > self._held_limit and self._waits:
            self._end_oldest()

    def _leave(self, wait: Wait) -> None:
        if self._waits.pop(wait.conn.sock, None) is not None:
            self._held_bytes -= wait.held_bytes
            self.poller.unregister(wait.conn.sock)

    def _end_oldest(self) -> None:
        wait = next(iter(self._waits.values()), None)
        if wait is not None:
            self._end(wait, BUSY, "too many clients")
        elif self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self._close(conn)

    def _end(self, wait: Wait, answer: RawAnswer | None = None, reason: str = "") -> None:
        if wait.conn.sock not in self._waits:
            return
        self._leave(wait)
        if answer is not None and wait.arrival:
            self._answer(wait.conn.sock, answer, reason)
        self._close(wait.conn)

    def _answer(self, client: Any, answer: RawAnswer, reason: str) -> None:
        request_id, data = answer.made()
        # The request is not logged: its line may contain a secret.
        log.warning("refused", request_id=request_id, status=answer.status, reason=reason)
        with contextlib.suppress(OSError):
            client.sendall(data)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()
