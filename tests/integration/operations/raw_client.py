"""A client of the API that writes bytes, and knows what every answer has to be."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.answer_details import has_details

#: A request must be there in that time; more than fifty times what an answer takes.
CLIENT_SECONDS = 6.0


@dataclass(frozen=True)
class Served:
    """Where the API listens, and the file that it logs to."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        """Open a connection, with a receive buffer of so many bytes where that is not 0."""
        client = socket.socket()
        client.settimeout(60)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(("127.0.0.1", self.port))
        return client

    def say(self, data: bytes) -> bytes:
        """Send these bytes, and return all that is answered until the connection ends."""
        with self.connect() as client:
            client.sendall(data)
            return read_all(client)


def read_all(client: socket.socket) -> bytes:
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    return answer


def post(
    path: str,
    body: bytes,
    *headers: str,
    length: int | None = None,
    version: str = "1.1",
    kept: bool = False,
) -> bytes:
    """The bytes of a call; `length` is what it says about its body, -1: nothing."""
    said = len(body) if length is None else length
    lines = [
        f"POST {path} HTTP/{version}",
        "Host: localhost",
        "Content-Type: application/json",
        *([] if kept else ["Connection: close"]),
        *([] if said < 0 else [f"Content-Length: {said}"]),
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def enveloped(answer: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and result of an answer, which has to be the envelope."""
    head, _, body = answer.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {n.lower(): v.strip() for n, _, v in (field.partition(":") for field in fields)}
    assert headers["content-type"].startswith("application/json"), answer[:300]
    assert len(body) == int(headers["content-length"])
    assert headers["x-request-id"]
    found = json.loads(body)
    system = {"code", "charge", "remainTimes", "remainSeconds", "msg", "requestId"}
    assert set(found) - {"result", "detail"} == system
    assert found["requestId"] == headers["x-request-id"]
    assert has_details(found), found
    return int(line.split()[1]), headers, found.get("result", {})
