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

#: Deepest nesting of objects and lists; the operations need four.
DEPTH = 16

#: Most digits of an integer: so many that a value over a limit still gets that limit's code.
DIGITS = 100

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_body(request: Request, max_values: int) -> dict[str, Any]:
    """Return the JSON object that was sent, of at most `max_values` values and keys; 0: any number.

    Raises HTTPException: 413 over the length that the application is configured with, 415 for
    another type or an encoding, 400 for anything else.
    """
    if request.mimetype and not request.is_json:
        raise UnsupportedMediaType
    if request.content_encoding and request.content_encoding.lower() != "identity":
        raise UnsupportedMediaType
    try:
        body = parse_json(read_bytes(request), max_values)
    except (ValueError, RecursionError) as error:
        raise BadRequest from error
    if not isinstance(body, dict):
        raise BadRequest
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
        raise BadRequest from error
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
        raise ValueError("too many strings")
    outside = b'""'.join(plain.split(b'"')[::2])
    values = outside.count(b",") + outside.count(b":") + outside.count(b"[") + outside.count(b"{")
    if max_values and values >= max_values:
        raise ValueError("too many values")
    brackets = outside.translate(None, _NOT_BRACKETS)
    if max(accumulate(1 if c in b"[{" else -1 for c in brackets), default=0) > DEPTH:
        raise ValueError("nested too deep")


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError("too many digits")
    return int(text)


def _finite(text: str) -> float:
    """Return a finite number. Raises ValueError for NaN and 1e999, which an answer can't repeat."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a JSON number")
    return number


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Raises ValueError for a repeated name: parsers differ in their choice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError("a name is there twice")
        found[name] = value
    return found
