"""Remove queries of URLs, credentials and pictures from log events.

Our own code must not log such values; this is the safety net for libraries, and for exceptions that
repeat their arguments.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

#: Characters of a value that are kept.
VALUE_CHARACTERS = 1_000

#: Characters kept of a traceback's beginning, and of its end, where the message stands.
TRACEBACK_HEAD = 4_000
TRACEBACK_TAIL = 12_000
_TRACEBACKS = frozenset({"exception", "stack"})

#: Levels of nested containers that are shown, and items of each.
DEPTH = 4
ITEMS = 50

#: Replaces what was removed.
MASK = "***"
_QUERY_CUT = "?" + MASK

_SECRET_NAME = re.compile(r"passw|secret|credential|authorization|cookie|api_?key", re.IGNORECASE)
_WHOLE_URL = re.compile(r"\s*https?:", re.IGNORECASE)
_CREDENTIALS = re.compile(r"://[^\s/]*@")
#: Matches paths without a host too, as urllib3 reports them. In quotes, a query may contain spaces
#: and ends at the closing quote.
_QUERY = re.compile(
    r"""(?P<quote>['"])(?P<url>https?:[^'"?\n]*)\?[^'"\n]*(?P=quote)|\?\S+""", re.IGNORECASE
)
_AUTHORIZATION = re.compile(r"\b(Basic|Bearer)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
#: Base64, standard or URL-safe: no word, id or checksum of ours is as long.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{100,}={0,2}")
#: The same split into lines, real or escaped as in a repr. Applied after _BASE64, which leaves only
#: short runs.
_BASE64_LINES = re.compile(r"(?:[A-Za-z0-9+/]{60,99}(?:\\r|\\n|\s)+){2,}[A-Za-z0-9+/]*={0,2}")


def clean_text(text: str, characters: int = VALUE_CHARACTERS) -> str:
    """Return `text` without queries of URLs, credentials and Base64, cut after `characters`."""
    return _cut(_masked(text), characters, 0)


def clean_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Clean every value of a log event in place and return the event.

    A structlog processor, to be placed right before the renderer.
    """
    for name, value in event.items():
        if name in _TRACEBACKS and isinstance(value, str):
            event[name] = _cut(_lines_masked(value), TRACEBACK_HEAD, TRACEBACK_TAIL)
        else:
            event[name] = _clean(name, value, DEPTH)
    return event


def _clean(name: object, value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(name, str) and _SECRET_NAME.search(name):
        return MASK
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # NaN is not JSON
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth == 0:
        return clean_text(repr(value)) if not isinstance(value, Mapping | list | tuple) else "..."
    if isinstance(value, Mapping):
        shown = list(value.items())[:ITEMS]
        return {clean_text(str(key)): _clean(key, item, depth - 1) for key, item in shown}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(None, item, depth - 1) for item in list(value)[:ITEMS]]
    return clean_text(repr(value))


def _masked(text: str) -> str:
    """Return `text` with secrets masked; if it is a single URL, everything from its query on."""
    # Cut first, far beyond what is shown: matching a picture of megabytes would be slow.
    text = text[: 4 * (TRACEBACK_HEAD + TRACEBACK_TAIL)]
    if "/" in text:
        text = _CREDENTIALS.sub(f"://{MASK}@", text)
        if "?" in text:
            if _WHOLE_URL.match(text) and "\n" not in text:
                text = text.partition("?")[0] + _QUERY_CUT
            text = _QUERY.sub(_without_query, text)
    if len(text) > 12:
        text = _AUTHORIZATION.sub(rf"\1 {MASK}", text)
    if len(text) >= 100:
        text = _BASE64.sub(MASK, text)
        text = _BASE64_LINES.sub(MASK, text)
    return text


def _without_query(found: re.Match[str]) -> str:
    if found["quote"] is None:
        return _QUERY_CUT
    return f"{found['quote']}{found['url']}{_QUERY_CUT}{found['quote']}"


def _lines_masked(text: str) -> str:
    """Return a traceback with its secrets masked and each line cut at VALUE_CHARACTERS."""
    if len(text) > 2 * (TRACEBACK_HEAD + TRACEBACK_TAIL):
        text = _cut(text, TRACEBACK_HEAD, TRACEBACK_TAIL)
    return "\n".join(_cut(line, VALUE_CHARACTERS, 0) for line in _masked(text).split("\n"))


def _cut(text: str, head: int, tail: int) -> str:
    left_out = len(text) - head - tail
    if left_out <= 0:
        return text
    end = text[len(text) - tail :] if tail else ""
    return f"{text[:head]}... [{left_out} characters cut]{end}"
