"""The text of a URL: without what stands around it, and as a request line may hold it.

The request asks for what was given: escapes stay as they are, since a signature of a link may
cover them. Only what can't stand in a request line is encoded. `requests` and urllib3 would write
every URL anew.
"""

from __future__ import annotations

import re
from urllib.parse import quote

#: White space and marks that copying and spreadsheets leave around a URL: line breaks, tabs, a byte
#: order mark, and every blank of Unicode (category Zs).
_AROUND = (
    "\t\r\n\ufeff \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u202f\u205f\u3000"
)
#: What RFC 3986 has no place for in a path or a query. A "%" that begins no escape and brackets are
#: left alone, as browsers do.
_TO_ENCODE = re.compile(r'[^!-~]|["<>^`{|}]')
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
#: In GBK the second byte of a character may be that of a backslash.
_BYTES_TO_ENCODE = re.compile(rb"[\x80-\xff]\\?")


def trimmed(text: str) -> str:
    """Return a text without the blanks, line breaks and byte order marks around it."""
    return text.strip(_AROUND)


def request_target(behind_host: str) -> str:
    """Return what a request asks for: path and query of what follows the host in a URL.

    Dot segments are resolved as browsers do, since links are tried in browsers; encoded ones (%2e)
    stay as they are. The fragment is dropped.
    """
    path, mark, query = behind_host.partition("#")[0].partition("?")
    return _TO_ENCODE.sub(
        lambda found: quote(found[0], safe=""), _without_dot_segments(path) + mark + query
    )


def _without_dot_segments(path: str) -> str:
    """Return an absolute path without "." and ".." (RFC 3986, 5.2.4)."""
    segments = path.split("/")[1:] or [""]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def location_text(value: bytes) -> str:
    """Return the value of a Location header as text, whatever its encoding.

    UTF-8 is read. The bytes of any other encoding are percent-encoded one by one, so they are
    asked for as they came, and stand in no valid host.
    """
    try:
        return trimmed(value.decode())
    except UnicodeDecodeError:
        encoded = _BYTES_TO_ENCODE.sub(
            lambda found: b"".join(b"%%%02X" % byte for byte in found[0]), value
        )
        return trimmed(encoded.decode("ascii"))


def resolved(base: str, reference: str) -> str:
    """Return the URL that `reference`, as a redirect gives it, means at the URL `base`.

    `urljoin` is not used: it drops an empty query and empty parameters. A signature may cover
    them.
    """
    scheme, _, rest = base.partition("://")
    authority, _, target = rest.partition("/")
    directory = target.partition("?")[0]
    named = _SCHEME.match(reference)
    if named:
        if named[1].lower() != scheme or reference.startswith("//", named.end()):
            return reference
        reference = reference[named.end() :]
    if reference.startswith("//"):
        return f"{scheme}:{reference}"
    if reference.startswith("/"):
        return f"{scheme}://{authority}{reference}"
    if reference.startswith("?"):
        return f"{scheme}://{authority}/{directory}{reference}"
    if not reference or reference.startswith("#"):
        return base
    return f"{scheme}://{authority}/{directory[: directory.rfind('/') + 1]}{reference}"
