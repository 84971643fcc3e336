"""image_content: a URL or Base64, checked without a model and without asking DNS.

Base64 comes in the spellings of many programs: wrapped, of the URL-safe alphabet, without its
padding, behind any prefix of RFC 2397.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from contract import causes
from contract.errors import NotSupportImage
from download.address import check_url
from download.policy import FetchPolicy
from download.url import trimmed
from vision.formats import format_of
from vision.picture import PictureLimits, inspect

#: Of any scheme, so that one that is not fetched is told as what it is. Some programs begin data:
#: URIs so.
_URL = re.compile(r"(?!data:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
#: What stands before the Base64 of a data: URI (RFC 2397): type and parameters, quoted or not.
_DATA_PREFIX = re.compile(r'data:(?:"[^"]*"|[^",])*;\s*base64\s*,', re.IGNORECASE)
#: A longer prefix is none, so that no call makes the pattern search megabytes.
_PREFIX_CHARACTERS_LIMIT = 2048
#: What `encodeURIComponent` and its like make of Base64 and its white space.
_ESCAPES = {"%2b": "+", "%2f": "/", "%3d": "=", "%0a": "", "%0d": "", "%09": "", "%20": ""}


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
    text = trimmed(text)
    if _URL.match(text):
        check_url(text, policy)
        return Content(text, None)
    prefix = _DATA_PREFIX.match(text, 0, _PREFIX_CHARACTERS_LIMIT)
    given = "".join(text[prefix.end() :].split() if prefix else text.split())
    encoded = _as_plain_base64(given, is_data=prefix is not None)
    payload = _decoded(encoded, limits)
    try:
        inspect(payload, limits)
    except NotSupportImage as error:
        # Almost any word could be Base64 in one of these spellings, but not begin like a picture.
        if encoded == given or format_of(payload) is not None:
            raise
        raise causes.BASE64.fault() from error
    return Content(None, payload)


def _as_plain_base64(text: str, *, is_data: bool) -> str:
    """Return Base64 of the usual alphabet, with padding, and without the escapes of a data: URI."""
    if is_data and "%" in text:
        for escape, meaning in _ESCAPES.items():
            text = text.replace(escape, meaning).replace(escape.upper(), meaning)
    text = text.replace("-", "+").replace("_", "/")
    return text if text.endswith("=") else text + "=" * (-len(text) % 4)


def _decoded(encoded: str, limits: PictureLimits) -> bytes:
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
