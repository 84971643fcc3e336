"""image_content: a URL or Base64, checked without a model and without asking DNS."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from contract import causes
from download.address import check_url
from download.policy import FetchPolicy
from vision.picture import PictureLimits, inspect

_URL = re.compile(r"https?://", re.IGNORECASE)
_DATA_PREFIX = re.compile(r"data:[\w.+/-]*(;[\w.=+-]+)*;base64,", re.IGNORECASE)
_WHITE_SPACE = re.compile(r"[ \t\r\n]+")


@dataclass(frozen=True)
class Content:
    """Either a URL that may be fetched, or the bytes of a picture."""

    url: str | None
    payload: bytes | None


def read_content(text: str, limits: PictureLimits, policy: FetchPolicy) -> Content:
    """Return the URL, or the picture that was decoded from Base64.

    Raises BrokenBase64OrUrl, ImageSizeExceedLimit, and for a picture what `vision.picture.inspect`
    raises.
    """
    if _URL.match(text):
        check_url(text, policy)
        return Content(text, None)
    payload = _decoded(text, limits)
    inspect(payload, limits)
    return Content(None, payload)


def _decoded(text: str, limits: PictureLimits) -> bytes:
    prefix = _DATA_PREFIX.match(text)
    encoded = _WHITE_SPACE.sub("", text[prefix.end() :] if prefix else text)
    # Four characters stand for three bytes, so a picture is found too large without decoding it.
    if limits.max_bytes and len(encoded) // 4 * 3 - 2 >= limits.max_bytes:
        raise causes.TOO_MANY_BYTES.fault(limit=limits.max_bytes)
    try:
        payload = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise causes.BASE64.fault() from error
    if not payload:
        raise causes.BASE64.fault()
    return payload
