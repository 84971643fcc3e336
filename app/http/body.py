"""The body of a call: its size and shape are checked, then it is parsed as one JSON object.

json builds an object for each value, 200 MB of them for 8 MiB of empty lists; so values are
counted, and the depth is measured, on the bytes.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from flask import Request
from werkzeug.exceptions import BadRequest, HTTPException, UnsupportedMediaType

from app.http.details import kind_of

#: Deepest nesting of objects and lists; the operations need four.
DEPTH = 16

#: Most digits of an integer: so many that a value over a limit still gets that limit's code.
DIGITS = 100

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_body(request: Request, max_values: int) -> dict[str, Any]:
    """Return the JSON object that was sent, of at most `max_values` values and keys; 0: any number.

    Raises HTTPException: 413 over the length that the application is configured with, 415 for
    another type or an encoding, 400 for anything else. Its description is for the client.
    """
    if request.mimetype and not request.is_json:
        raise UnsupportedMediaType("send Content-Type: application/json")
    if request.content_encoding and request.content_encoding.lower() != "identity":
        raise UnsupportedMediaType("send the body as it is, without Content-Encoding")
    try:
        body = parse_json(read_bytes(request), max_values)
    except UnicodeDecodeError as error:
        raise BadRequest("the body is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg}, at character {error.pos}") from error
    except RecursionError as error:
        raise BadRequest("the body is nested too deep") from error
    except ValueError as error:
        raise BadRequest(f"the body can't be taken: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest(f"the body must be a JSON object; it is {kind_of(body)}")
    return body


def read_bytes(request: Request) -> bytes:
    """Return the body as it was sent; may be called again.

    Raises HTTPException: 413 over the length that the application is configured with, 400 for
    chunks that are malformed.
    """
    try:
        data = request.get_data()
        # werkzeug cuts chunks at the limit, and refuses only what is read beyond it.
        if request.content_length is None:
            request.stream.read(1)
    except HTTPException:
        raise
    except Exception as error:  # whatever the server calls chunks that are malformed
        raise BadRequest("the chunks of the body can't be read") from error
    return data


def parse_json(data: bytes, max_values: int) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises ValueError or RecursionError for what is malformed or not allowed.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    check_shape(data, max_values)
    return json.loads(
        data.decode("utf-8"),
        parse_int=_integer,
        parse_float=_finite,
        parse_constant=_finite,
        object_pairs_hook=_object,
    )


def check_shape(data: bytes, max_values: int) -> None:
    """Raise ValueError for too many values and keys (0: any number) or too deep a nesting."""
    # Without escaped quotes and backslashes, each quote begins or ends a string.
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    if max_values and plain.count(b'"') > 2 * max_values:
        raise ValueError("it has too many strings")
    outside = b'""'.join(plain.split(b'"')[::2])
    values = outside.count(b",") + outside.count(b":") + outside.count(b"[") + outside.count(b"{")
    if max_values and values >= max_values:
        raise ValueError("it has too many values")
    brackets = outside.translate(None, _NOT_BRACKETS)
    if max(accumulate(1 if c in b"[{" else -1 for c in brackets), default=0) > DEPTH:
        raise ValueError("it is nested too deep")


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError("it has a number of too many digits")
    return int(text)


def _finite(text: str) -> float:
    """Return a finite number. Raises ValueError for NaN and 1e999, which an answer can't repeat."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("it has a number that is not finite")
    return number


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Raises ValueError for a repeated name: parsers differ in their choice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError("an object in it has a name twice")
        found[name] = value
    return found
