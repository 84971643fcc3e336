"""What a body may be, judged before anything is built of it."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from flask import Request
from flask.testing import FlaskClient
from werkzeug.exceptions import BadRequest
from werkzeug.test import EnvironBuilder

from app.http.body import DEPTH, DIGITS, parse_json, read_bytes
from app.server import create_app
from app.services import Services

MakeServices = Callable[..., Services]

LIMIT = 100_000
SIZE = 8 * 2**20

#: For the worst body of 8 MiB: a plain parser takes 0.7 s and 200 MiB for some of them. Seconds are
#: of the processor, and ten times those.
SECONDS = 7.0
BYTES = 64 * 2**20


@pytest.fixture
def client(make_services: MakeServices) -> FlaskClient:
    return create_app(make_services()).test_client()


def filled(piece: bytes, before: bytes = b'{"a": [', after: bytes = b"1]}") -> bytes:
    return before + piece * ((SIZE - len(before) - len(after)) // len(piece)) + after


WORST = {
    "lists": filled(b"[],"),
    "objects": filled(b"{},"),
    "objects with a name": filled(b'{"":1},'),
    "strings": filled(b'"",'),
    "numbers": filled(b"1,"),
    "floats": filled(b"1.5,"),
    "depth": filled(b"[", b"", b""),
    "depth of objects": filled(b'{"":', b"", b""),
    "an integer": filled(b"1", b'{"a":', b"}"),
    "a fraction": filled(b"1", b'{"a":0.', b"e999}"),
    "names": b"{" + b",".join(b'"%x":1' % i for i in range(SIZE // 10)) + b"}",
    "quotes": filled(b'"', b"", b""),
    "backslashes and quotes": filled(b'\\"', b"", b""),
    "two of UTF-16": '{"a": "\ud83d\ude00"}'.encode("utf-16", "surrogatepass"),
    "no UTF-8": b'{"a": "\xff"}',
    "a name twice": b'{"a": 1, "a": 2}',
    "a name twice, escaped": b'{"a": 1, "\\u0061": 2}',
    "a name twice within": b'{"a": [{"b": 1, "b": 1}]}',
}


@pytest.mark.parametrize("body", WORST.values(), ids=WORST)
def test_what_is_too_much_is_refused_in_the_envelope(client: FlaskClient, body: bytes) -> None:
    response = client.post("/v1/task_status", data=body, content_type="application/json")
    assert response.status_code == 400
    assert response.get_json()["result"]["code"] == 5001


def _cost(body: bytes) -> tuple[float, int]:
    """Return the seconds that a body takes, and the peak of this process's memory until now."""
    began = time.process_time()
    with contextlib.suppress(ValueError, RecursionError):
        parse_json(body, LIMIT)
    seconds = time.process_time() - began
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_the_worst_bodies_cost_little_time_and_memory() -> None:
    taken = {
        **{name: body for name, body in WORST.items() if len(body) > 2**20},
        "as many values as may be": b'{"a": [' + b"{}," * (LIMIT // 2 - 10) + b"1]}",
        "Base64": filled(b"Q", b'{"a":"', b'"}'),
        "escapes": filled(b"\\u0041", b'{"a":"', b'"}'),
    }
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        _, before = pool.submit(_cost, b"{}").result()
        for name, body in taken.items():
            seconds, peak = pool.submit(_cost, body).result()
            assert seconds < SECONDS, name
            # Itself and its message between the processes are there three times.
            assert peak - before < BYTES + 3 * SIZE, name


def nested(depth: int) -> bytes:
    return b'{"a": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    "value",
    [
        {"a": 'x"[[[[[[[[[[[[[[[[[[[[[[[[["'},
        {"a\\": "\\", "b": '\\"', '"': ["\\\\"]},
        {"a": "[{" * 200_000},
        {"a": "服装😀"},
        {"a": 10 ** (DIGITS - 1), "b": -1.5e300, "c": [True, None, {}]},
    ],
    ids=["brackets in a string", "escapes", "very many brackets", "beyond ASCII", "numbers"],
)
def test_what_is_allowed_is_read_as_it_is(value: dict[str, Any]) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only).encode()
        assert parse_json(text, LIMIT) == value
        assert parse_json(b"\xef\xbb\xbf" + text, LIMIT) == value


def test_the_limits_are_where_they_are_said_to_be() -> None:
    assert parse_json(nested(DEPTH), LIMIT)
    with pytest.raises(ValueError, match="deep"):
        parse_json(nested(DEPTH + 1), LIMIT)
    assert parse_json(b"9" * DIGITS, LIMIT)
    with pytest.raises(ValueError, match="digits"):
        parse_json(b"9" * (DIGITS + 1), LIMIT)
    assert parse_json(b"[" + b"1," * 98 + b"1]", 100)
    with pytest.raises(ValueError, match="values"):
        parse_json(b"[" + b"1," * 99 + b"1]", 100)
    assert parse_json(b"[" + b"1," * 200_000 + b"1]", 0)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "x"])
def test_a_body_that_is_packed_is_refused(client: FlaskClient, encoding: str) -> None:
    response = client.post("/v1/task_status", json={}, headers={"Content-Encoding": encoding})
    assert response.status_code == 415
    assert response.get_json()["result"]["code"] == 5001


def test_identity_is_no_packing(client: FlaskClient) -> None:
    response = client.post("/v1/task_status", json={}, headers={"Content-Encoding": "identity"})
    assert response.status_code == 200


def test_a_body_on_which_the_server_stumbles_is_a_bad_request_to_whoever_reads_it() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise LookupError("what a server may call a chunk that is none")

    environ = EnvironBuilder(method="POST", input_stream=Broken()).get_environ()
    environ["wsgi.input_terminated"] = True
    with pytest.raises(BadRequest):
        read_bytes(Request(environ))
