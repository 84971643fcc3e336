"""A way to the database on which an answer to createIndexes comes late.

The server has built the index by then and lists it, as MongoDB does from the beginning of a build.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class SlowBuilds(socketserver.ThreadingTCPServer):
    """Passes commands on, each after the other, and holds back what answers the build `slow`."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, mongo_url: str, slow: str, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        parts = urlsplit(mongo_url)
        self.behind = (parts.hostname or "", parts.port or 0)
        self.url = parts._replace(netloc=f"127.0.0.1:{self.server_address[1]}").geturl()
        self.slow = slow.encode()
        self.seconds = seconds
        self.builds = 0
        self.is_held = threading.Event()
        self.is_answered = threading.Event()


class _Connection(socketserver.BaseRequestHandler):
    server: SlowBuilds

    def handle(self) -> None:
        with socket.create_connection(self.server.behind) as behind:
            while request := _message(self.request):
                behind.sendall(request)
                answer = _message(behind)
                is_build = b"createIndexes" in request
                self.server.builds += is_build
                if is_build and self.server.slow in request:
                    self.server.is_held.set()
                    time.sleep(self.server.seconds)
                    self.server.is_answered.set()
                try:
                    self.request.sendall(answer)
                except OSError:
                    return  # the client did not wait


def _message(connection: socket.socket) -> bytes:
    """Return a whole message of MongoDB's protocol, which begins with its length."""
    data = b""
    while len(data) < 4 or len(data) < int.from_bytes(data[:4], "little"):
        try:
            piece = connection.recv(65_536)
        except OSError:
            return b""
        if not piece:
            return b""
        data += piece
    return data


@contextmanager
def slow_builds(mongo_url: str, slow: str, seconds: float) -> Iterator[SlowBuilds]:
    """Run a way to the database that answers the build of the index `slow` so much later."""
    with SlowBuilds(mongo_url, slow, seconds) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
