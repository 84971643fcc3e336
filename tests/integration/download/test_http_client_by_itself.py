"""What `http.client` does by itself with heads that download/head.py reads before it.

If an upgrade makes one of these fail, that part of the module may go.
"""

from __future__ import annotations

import http.client
import io
from typing import Any, cast

import pytest

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any, **__: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


def answer(data: bytes) -> http.client.HTTPResponse:
    found = http.client.HTTPResponse(cast(Any, _Socket(data)), method="GET")
    found.begin()
    return found


@pytest.mark.parametrize("line", [b"no colon", b"X : y", b"X: a\rb"])
def test_headers_behind_a_line_that_is_none_are_lost_and_chunks_are_the_body(line: bytes) -> None:
    found = answer(OK + line + b"\r\n" + CHUNKED)
    assert found.getheader("Transfer-Encoding") is None
    assert found.read() == b"1\r\nx\r\n0\r\n\r\n"


def test_a_blank_behind_the_name_of_an_encoding_belongs_to_it() -> None:
    found = answer(OK + CHUNKED.replace(b"chunked", b"chunked "))
    assert found.read() == b"1\r\nx\r\n0\r\n\r\n"


def test_interim_answers_other_than_100_are_taken_for_the_answer() -> None:
    assert answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + CHUNKED).status == 103


def test_interim_answers_of_100_have_no_limit() -> None:
    assert answer(b"HTTP/1.1 100 C\r\n\r\n" * 1000 + OK + CHUNKED).status == 200


def test_a_chunk_of_minus_one_bytes_is_read_until_the_host_ends() -> None:
    found = cast(Any, answer(OK + b"\r\n" + bytes(99_999)))
    assert found._safe_read(-1) == bytes(99_999)


def test_headers_that_are_cut_off_are_taken_for_all_of_them() -> None:
    assert answer(OK + b"Content-Le").read() == b""
