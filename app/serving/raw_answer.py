"""Answers to requests that never reach the application: the envelope, as bytes for a socket."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from flask import Response

from app.http.envelope import SystemCode, not_served, refused
from app.http.headers import REQUEST_ID_HEADER, harden
from contract.errors import InternalServerError, InvalidParameterJson


@dataclass(frozen=True)
class RawAnswer:
    """An answer after which the connection ends."""

    status: int
    make: partial[Response]

    def made(self) -> tuple[str, bytes]:
        """Return a new request id, and the bytes of an answer that carries it."""
        response = self.make()
        response.headers["Connection"] = "close"
        harden(response)
        head = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
        line = f"HTTP/1.1 {response.status}\r\n"
        raw = f"{line}{head}\r\n".encode("latin-1") + response.get_data()
        return response.headers[REQUEST_ID_HEADER], raw


def _malformed(detail: str) -> RawAnswer:
    return RawAnswer(400, partial(refused, InvalidParameterJson, detail, status=400))


MALFORMED = _malformed("this is no request of HTTP/1.1 that can be read")
TOO_SLOW = _malformed("the request did not arrive in time; send all of it at once")
HEAD_TOO_LONG = _malformed("the request line and the headers are too long together")
FAULT = RawAnswer(
    500, partial(refused, InternalServerError, InternalServerError.sentence, status=500)
)
BUSY = RawAnswer(
    503, partial(not_served, SystemCode.BUSY, "too many clients are connected; try again later")
)
