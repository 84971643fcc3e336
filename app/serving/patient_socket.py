"""A connection on which no thread ever waits for the client.

A read returns what has arrived already, see `app.serving.request_buffer`; what is written and does
not fit into the system's buffer is kept, and sent when the client takes it.
"""

from __future__ import annotations

import io
import socket
from typing import Any


class PatientSocket(socket.socket):
    """A socket of a client, as gunicorn's parser and writer use it."""

    def __init__(self, accepted: socket.socket) -> None:
        """Take over the connection of `accepted`, which can't be used any more."""
        super().__init__(fileno=accepted.detach())
        self.is_whole = False  #: all of the request was there when it was handed over
        self.early = b""  #: bytes after the request, which belong to the next one
        self.unsent = bytearray()
        self._request = io.BytesIO()

    def hand_over(self, request: bytes, early: bytes, *, is_whole: bool) -> None:
        """Set the bytes that `recv` returns, and those that came after the request."""
        self._request = io.BytesIO(request)
        self.early = early
        self.is_whole = is_whole

    def recv(self, size: int, flags: int = 0) -> bytes:  # noqa: ARG002
        """Return the next bytes of the request; b"" at its end, as if the client had closed."""
        return self._request.read(size)

    def receive(self, size: int) -> bytes:
        """Return bytes from the wire; b"" at its end.

        Raises BlockingIOError if there are none now.
        """
        return super().recv(size, socket.MSG_DONTWAIT)

    def sendall(self, data: Any, flags: int = 0) -> None:  # noqa: ARG002
        """Send what the system takes at once, and keep the rest for `flush`."""
        self.unsent += data
        self.flush()

    def flush(self) -> bool:
        """Send what is kept; return whether nothing is left.

        Raises OSError if the client is gone.
        """
        self.setblocking(False)
        while self.unsent:
            try:
                del self.unsent[: self.send(self.unsent)]
            except BlockingIOError:
                return False
        return True
