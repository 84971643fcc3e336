"""Real servers on loopback that say what a test wants, byte for byte."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from config.allow_list import AllowList
from download.policy import FetchPolicy

Talk = Callable[["Server", socket.socket, bytes], None]

#: How a test starts a server: with what it answers, and on which address.
Serve = Callable[..., "Server"]

#: Seconds since the test began.
Stopwatch = Callable[[], float]


class Server:
    """Accepts connections, reads one request from each and lets `talk` answer."""

    def __init__(
        self, talk: Talk, address: str = "127.0.0.1", *, listen_only: bool = False
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listening = socket.create_server((address, 0), family=family)
        self._listening.settimeout(0.02)
        self._talk = talk
        self._listen_only = listen_only
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.port: int = self._listening.getsockname()[1]
        self.stopping = threading.Event()
        self.requests: list[bytes] = []
        self.connections = 0
        self._running: set[socket.socket] = set()
        self.most_running = 0
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Return a URL of this server."""
        return f"http://{host}:{self.port}{path}"

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with self._lock:
            self._running.add(connection)
            self.most_running = max(self.most_running, len(self._running))
        # A client that gave up is what many of these tests are about.
        with connection, contextlib.suppress(OSError):
            self._talk(self, connection, b"" if self._listen_only else self._read(connection))
        self.is_over(connection)

    def is_over(self, connection: socket.socket) -> None:
        """Count a talk off, before its client can know that it is over and begin another."""
        with self._lock:
            self._running.discard(connection)

    def _read(self, connection: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = connection.recv(4096)
            if not piece:
                raise ConnectionError("no whole request")
            request += piece
        self.requests.append(request)
        return request

    def close(self) -> None:
        self.stopping.set()
        self._accepting.join()
        self._listening.close()
        for thread in self._threads:
            thread.join()


MAX_BYTES = 100_000

LIMITS: dict[str, Any] = {
    "max_bytes": MAX_BYTES,
    "ports": frozenset({80, 443}),
    "connect_seconds": 3.0,
    "read_gap_seconds": 5.0,
    "total_seconds": 15.0,
}


def policy(*allow: str, **changes: Any) -> FetchPolicy:
    """Return the default policy with these hosts allowed and these fields changed."""
    return FetchPolicy(allow=AllowList.parse(",".join(allow)), **LIMITS | changes)


def for_server(server: Server, **changes: Any) -> FetchPolicy:
    """Return a policy that allows this server alone."""
    return policy(f"127.0.0.1:{server.port}", **changes)


def soon(seconds: float = 30.0) -> float:
    """Return the deadline that is so many seconds away, on the monotonic clock."""
    return time.monotonic() + seconds


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """Return a whole HTTP answer; an underscore in a header stands for a hyphen."""
    headers = {"Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def redirect(location: str) -> bytes:
    return answer(status="302 Found", Location=location)


def once(*lines: bytes) -> Talk:
    """Return a talk that redirects the first request with these header lines, and no other.

    HOST in a line stands for the server's address and port, PORT for its port.
    """

    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        if server.connections > 1:
            connection.sendall(answer(b"there"))
            return
        head = b"".join(line + b"\r\n" for line in lines if line)
        head = head.replace(b"HOST", b"127.0.0.1:PORT").replace(b"PORT", b"%d" % server.port)
        connection.sendall(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n" + head + b"\r\n")

    return talk


def examples(table: dict[str, list[Any]]) -> list[Any]:
    """Return the examples of all kinds of a table as parameters of a test."""
    return [
        pytest.param(example, id=f"{title}, {number}")
        for title, kind in table.items()
        for number, example in enumerate(kind)
    ]


def trickle(begin: bytes, drop: bytes, gap: float) -> Talk:
    """Return a talk that sends `begin`, then `drop` every `gap` seconds until the test ends."""

    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        connection.sendall(begin)
        while not server.stopping.wait(gap):
            connection.sendall(drop)

    return talk
