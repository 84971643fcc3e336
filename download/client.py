"""The download of one URL: `fetch`.

Every hop of a redirect is checked like the first URL; a name is looked up once per hop, all of
its addresses must be allowed, and the connection goes to exactly those. The deadline covers DNS,
connecting, TLS, headers and body together (see `connection`). The module keeps no cookies, sends
no credentials and reads no environment variable or netrc file.
"""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import re
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import urljoin

import requests
import urllib3

from contract import causes
from contract.errors import BrokenBase64OrUrl
from download.address import Target, address_allowed, judge_url
from download.connection import DialAdapter, Watchdog, dial
from download.faults import TransientFetchError
from download.policy import FetchPolicy
from download.resolver import Resolver, resolve, system_resolver

__all__ = ["FetchPolicy", "TransientFetchError", "fetch"]

#: Called with the host of a redirect and a deadline in seconds of `time.monotonic()`; may wait.
BeforeRedirect = Callable[[str, float], None]

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
#: The longest wait that a Retry-After header may ask for, in seconds.
RETRY_AFTER_LIMIT = 30.0
#: Bytes read and decompressed at a time.
PIECE_BYTES = 16 * 1024
#: Content encodings that are accepted, one at a time, from servers that compress without being
#: asked: each is decompressed in pieces (urllib3 from 2.6 on). Others would need more decoders.
CONTENT_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})

_PERMANENT = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.LocationValueError,
    UnicodeError,
)
_FAULTS = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException, UnicodeError)


def fetch(
    url: str,
    policy: FetchPolicy,
    deadline: float,
    resolver: Resolver = system_resolver,
    before_redirect: BeforeRedirect | None = None,
) -> bytes:
    """Return the body of `url`, fewer than `policy.max_bytes` bytes.

    The fetch ends at `deadline`, in seconds of `time.monotonic()`, or `policy.total_seconds` from
    now if that is earlier. `before_redirect` is called with the host of each redirect and that
    time, before the host is looked up or connected to.

    A body that ends before its Content-Length counts as a transient fault.

    Raises TransientFetchError if another try may succeed, BrokenBase64OrUrl if the URL is forbidden
    or will fail again, and ImageSizeExceedLimit if the body is not under the limit.
    """
    target = judge_url(url, policy)
    with Watchdog(min(deadline, time.monotonic() + policy.total_seconds)) as watchdog:
        for _ in range(policy.redirects + 1):
            answer = _ask(target, policy, watchdog, resolver)
            if isinstance(answer, bytes):
                return answer
            target = redirect_target(target, answer, policy)
            if before_redirect is not None:
                before_redirect(target.host, watchdog.deadline)
    raise causes.REDIRECTS.fault(host=target.host, limit=policy.redirects)


def redirect_target(target: Target, location: str, policy: FetchPolicy) -> Target:
    """Check a redirect from `target` to the value of a Location header; return the new target.

    Raises BrokenBase64OrUrl if the URL is forbidden, or leads from https to http.
    """
    try:
        joined = urljoin(target.url, location)
    except ValueError as error:
        raise causes.REDIRECT.fault(host=target.host, reason="it can't be read") from error
    try:
        following = judge_url(joined, policy)
    except BrokenBase64OrUrl as error:
        raise causes.REDIRECT.fault(
            f"{target.host} redirects: {error}", host=target.host, reason=error.detail
        ) from error
    if target.scheme == "https" and following.scheme != "https":
        raise causes.REDIRECT.fault(host=target.host, reason="it leads from https to http")
    return following


def _checked_addresses(
    target: Target, policy: FetchPolicy, watchdog: Watchdog, resolver: Resolver
) -> list[str]:
    """Return the addresses to connect to.

    Raises BrokenBase64OrUrl if the name has no address or a forbidden one, TransientFetchError if
    the lookup failed.
    """
    if target.address is not None:
        return [str(target.address)]
    checked = []
    for text in resolve(target.host, target.port, resolver, watchdog.deadline):
        address = ipaddress.ip_address(text.partition("%")[0])
        if not address_allowed(address, target, policy):
            raise causes.HOST.fault(
                f"{target.host} has a forbidden address, {address}; see SNAPSKU_FETCH_ALLOW",
                host=target.host,
            )
        checked.append(str(address))
    return checked


def _ask(
    target: Target, policy: FetchPolicy, watchdog: Watchdog, resolver: Resolver
) -> bytes | str:
    """Make one request; return the body as bytes, or the Location of a redirect as str."""
    addresses = _checked_addresses(target, policy, watchdog, resolver)
    adapter = DialAdapter(
        partial(dial, addresses, target.port, watchdog, policy.connect_seconds), policy.ca_file
    )
    headers = {
        "User-Agent": policy.user_agent,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    try:
        left = watchdog.remaining()
        response = adapter.send(
            requests.Request("GET", target.url, headers=headers).prepare(),
            stream=True,
            timeout=(min(policy.connect_seconds, left), min(policy.read_gap_seconds, left)),
        )
        try:
            answer = _read(response, target, policy)
        finally:
            response.close()
        # A socket that the watchdog shut down looks like the end of the body.
        watchdog.remaining()
    except _FAULTS as error:
        if watchdog.expired:
            raise TransientFetchError(causes.TOO_SLOW.fault(host=target.host)) from error
        detail = f"{target.host}: {type(error).__name__}"
        if isinstance(error, _PERMANENT):
            raise causes.ANSWER.fault(detail, host=target.host) from error
        raise TransientFetchError(causes.CONNECTION.fault(detail, host=target.host)) from error
    finally:
        adapter.close()
    return answer


def _read(response: requests.Response, target: Target, policy: FetchPolicy) -> bytes | str:
    status = response.status_code
    if status in TRANSIENT_STATUSES:
        wait = retry_after_seconds(response.headers.get("Retry-After"))
        fault = causes.STATUS_FOR_NOW.fault(host=target.host, status=status)
        raise TransientFetchError(fault, wait)
    if status in REDIRECT_STATUSES and "Location" in response.headers:
        # http.client decodes headers as Latin-1, but servers send UTF-8.
        return response.headers["Location"].encode("latin-1").decode("utf-8")
    if status != 200:
        raise causes.STATUS.fault(host=target.host, status=status)
    announced = _announced(response, target)
    # int() refuses strings of thousands of digits, so long ones are not converted.
    if announced and (len(announced) > 15 or int(announced) >= policy.max_bytes):
        raise causes.TOO_MANY_BYTES.fault(
            f"{target.host}: {announced[:15]} bytes announced", limit=policy.max_bytes
        )
    encoding = response.headers.get("Content-Encoding", "").lower()
    if encoding not in CONTENT_ENCODINGS:
        raise causes.ENCODING.fault(host=target.host, encoding=shown(encoding))
    body = bytearray()
    for piece in response.iter_content(PIECE_BYTES):
        body += piece
        if len(body) < policy.max_bytes:
            continue
        if encoding in ("", "identity"):
            raise causes.TOO_MANY_BYTES.fault(limit=policy.max_bytes)
        # Pictures hardly compress: a body this large is a decompression bomb, not a large file.
        raise causes.BOMB.fault(host=target.host, limit=policy.max_bytes)
    if not body and announced != "0":
        # http.client takes a connection that ends within the headers for an empty answer.
        raise TransientFetchError(causes.ANSWER_CUT.fault(host=target.host))
    return bytes(body)


def _announced(response: requests.Response, target: Target) -> str:
    """Return the digits of the Content-Length header, "" if there is none (RFC 9112, 6.3).

    Raises BrokenBase64OrUrl if it is not a number, or there are several that differ.
    """
    header = response.headers.get("Content-Length")
    if header is None:
        return ""
    lengths = {length.strip() for length in header.split(",")}
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdecimal()):
        raise causes.LENGTH.fault(host=target.host)
    return length


def shown(text: str) -> str:
    """Return a header's value as it may stand in a sentence: plain characters, few of them."""
    return re.sub(r"[^\w .,;=+/-]", "?", text)[:40]


def retry_after_seconds(value: str | None) -> float | None:
    """Return the wait that a Retry-After header asks for, in seconds, at most RETRY_AFTER_LIMIT.

    The value is seconds or a date (RFC 9110, 10.2.3). Return None if it is neither or missing.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdecimal():
        # Nine digits are beyond the limit already; longer ones are not converted.
        return RETRY_AFTER_LIMIT if len(value) > 9 else min(float(value), RETRY_AFTER_LIMIT)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, moment - time.time()), RETRY_AFTER_LIMIT)
