"""Collects the bytes of a request until all of it is there.

Only that is decided here; gunicorn's parser reads the request. Where the two might differ, the
request is handed over early, and the connection ends with the answer.
"""

from __future__ import annotations

import re

#: Most bytes of request line and headers together.
HEAD_BYTES = 32 * 1024

#: Most chunks of a body: each costs a step, whatever its size.
CHUNKS = 20_000

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CODED = re.compile(rb"\r\ntransfer-encoding:[ \t]*([^\r]*)", re.IGNORECASE)
_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
_CHUNK_LINE = re.compile(rb"([0-9a-f]{1,8})[ \t]*(?:;.*)?", re.IGNORECASE)
_CHUNK_LINE_BYTES = 1_024


class Arrival:
    """A request that arrives. Not thread-safe."""

    def __init__(self, body_bytes: int) -> None:
        """Wait for no body over `body_bytes`; 0: no limit."""
        self.is_whole = False  #: every byte of the request is there
        self.is_ready = False  #: whole, or to be refused without the rest
        self.is_too_long = False  #: its head is over HEAD_BYTES
        self.wants_continue = False  #: the client waits for "100 Continue" before the body
        self._body_bytes = body_bytes
        self._buffer = bytearray()
        self._head_end = 0
        self._end: int | None = None  # where a body of known length ends
        self._chunk_at = 0
        self._chunks = 0

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add received bytes, and set the flags that follow from them."""
        searched = max(0, len(self._buffer) - 3)
        self._buffer += data
        if not self._head_end:
            found = self._buffer.find(b"\r\n\r\n", searched)
            if found < 0 or found > HEAD_BYTES:
                self.is_too_long = len(self._buffer) > HEAD_BYTES
                return
            self._head_end = self._chunk_at = found + 4
            self._judge_head(bytes(self._buffer[: self._head_end]))
        if self._end is not None:
            if len(self._buffer) >= self._end:
                self._is_there(self._end)
        elif not self.is_ready:
            self._judge_chunks()

    def taken(self) -> tuple[bytes, bytes]:
        """Return the bytes of the request, and those that came after it."""
        end = self._end if self.is_whole and self._end is not None else len(self._buffer)
        return bytes(self._buffer[:end]), bytes(self._buffer[end:])

    def _is_there(self, end: int) -> None:
        self._end = end
        self.is_whole = self.is_ready = True

    def _judge_head(self, head: bytes) -> None:
        coded = _CODED.search(head)
        if coded is not None:
            self.is_ready = coded[1].strip().lower() != b"chunked"
            self.wants_continue = _CONTINUE.search(head) is not None
            return
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        if self._body_bytes and length > self._body_bytes:
            self.is_ready = True
        else:
            self._end = self._head_end + length
            self.wants_continue = _CONTINUE.search(head) is not None

    def _judge_chunks(self) -> None:
        while self._chunk_at < len(self._buffer):
            line_end = self._buffer.find(b"\r\n", self._chunk_at)
            if line_end < 0:
                self.is_ready = len(self._buffer) - self._chunk_at > _CHUNK_LINE_BYTES
                return
            line = _CHUNK_LINE.fullmatch(self._buffer, self._chunk_at, line_end)
            self._chunks += 1
            if line is None or self._chunks > CHUNKS:
                self.is_ready = True
                return
            size = int(line[1], 16)
            if size == 0:
                end = self._buffer.find(b"\r\n\r\n", line_end)
                if end >= 0:
                    self._is_there(end + 4)
                else:
                    self.is_ready = len(self._buffer) - line_end > HEAD_BYTES
                return
            after = line_end + 2 + size + 2
            if self._body_bytes and after - self._head_end > 2 * self._body_bytes:
                self.is_ready = True
                return
            # The chunk is not there as a whole: its line is read again when more arrives.
            if after > len(self._buffer):
                self._chunks -= 1
                return
            self._chunk_at = after
