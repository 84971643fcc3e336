"""The download of one URL: `fetch`.

Every hop of a redirect is checked like the first URL; a name is looked up once per hop, all of
its addresses must be allowed, and the connection goes to exactly those. The deadline covers DNS,
connecting, TLS, headers and body together (see `connection`). The module keeps cookies for one
download only (see `cookies`), sends no credentials and reads no environment variable or netrc file.
"""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import re
import time
from collections.abc import Callable
from functools import partial

import urllib3

from contract import causes
from contract.errors import BrokenBase64OrUrl
from download.address import Target, address_allowed, judge_url
from download.connection import Watchdog, ask, connection_to, dial
from download.cookies import Cookies
from download.encoding import read_body
from download.faults import TransientFetchError
from download.policy import FetchPolicy
from download.resolver import Resolver, resolve, system_resolver
from download.url import location_text, resolved

__all__ = ["FetchPolicy", "TransientFetchError", "fetch"]

#: Called with the target of a redirect and a deadline in seconds of `time.monotonic()`; may wait.
BeforeRedirect = Callable[[Target, float], None]

#: Answers that another try may find changed: not ready, asked too often, or a fault of the server.
#: 430 is what some shops answer instead of 429; 501 and 505 stay.
TRANSIENT_STATUSES = frozenset({202, 408, 423, 425, 429, 430, *range(500, 600)}) - {501, 505}
#: Those of them that other URLs of the host are likely to get as well: it is down, or wants fewer
#: requests. Of the others, 500 above all, one URL may be the cause.
HOST_STATUSES = frozenset({429, 430, *range(502, 600)})
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
#: 203 comes through a proxy that changed something; browsers show it.
SUCCESS_STATUSES = frozenset({200, 203})
#: The longest wait that a Retry-After header may ask for, in seconds.
RETRY_AFTER_LIMIT = 240.0
#: Bytes read and unpacked at a time.
PIECE_BYTES = 16 * 1024
#: What urllib3 undoes by itself, or does nothing; others are undone like content encodings.
FRAMINGS = frozenset({"", "chunked", "identity"})
TRANSFER_ENCODINGS = FRAMINGS | {"gzip", "x-gzip", "deflate"}

_PERMANENT = (urllib3.exceptions.InvalidHeader, UnicodeError)
_SILENCE = (TimeoutError, urllib3.exceptions.TimeoutError)
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
    now if that is earlier. `before_redirect` is called with the target of each redirect and
    that time, before its host is looked up or connected to.

    A body that ends before its Content-Length counts as a transient fault.

    Raises TransientFetchError if another try may succeed, BrokenBase64OrUrl if the URL is forbidden
    or will fail again, and ImageSizeExceedLimit if the body is not under the limit.
    """
    target = judge_url(url, policy)
    cookies = Cookies()
    with Watchdog(min(deadline, time.monotonic() + policy.total_seconds)) as watchdog:
        for _ in range(policy.redirects + 1):
            try:
                answer = _ask(target, policy, watchdog, resolver, cookies)
            except TransientFetchError as error:
                error.endpoint = target.endpoint
                raise
            if isinstance(answer, bytes):
                return answer
            target = redirect_target(target, answer, policy)
            if before_redirect is not None:
                before_redirect(target, watchdog.deadline)
    raise causes.REDIRECTS.fault(host=target.host, limit=policy.redirects)


def redirect_target(target: Target, location: str, policy: FetchPolicy) -> Target:
    """Check a redirect from `target` to the value of a Location header; return the new target.

    Raises BrokenBase64OrUrl if the URL is forbidden, or leads from https to http.
    """
    try:
        following = judge_url(resolved(target.url, location), policy)
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
    target: Target,
    policy: FetchPolicy,
    watchdog: Watchdog,
    resolver: Resolver,
    cookies: Cookies,
) -> bytes | str:
    """Make one request; return the body as bytes, or the Location of a redirect as str."""
    addresses = _checked_addresses(target, policy, watchdog, resolver)
    headers = {
        "User-Agent": policy.user_agent,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    if cookie := cookies.header(target):
        headers["Cookie"] = cookie
    connection = None
    try:
        connection = connection_to(
            target,
            partial(dial, addresses, target.port, watchdog, policy.connect_seconds),
            min(policy.read_gap_seconds, watchdog.remaining()),
            policy.ca_file,
        )
        response = ask(connection, target.path, headers)
        try:
            cookies.take(target, response.headers.getlist("Set-Cookie"))
            answer = _read(response, target, policy)
        finally:
            response.close()
        # A socket that the watchdog shut down looks like the end of the body.
        watchdog.remaining()
    except _FAULTS as error:
        if watchdog.expired or isinstance(error, _SILENCE):
            raise TransientFetchError(causes.TOO_SLOW.fault(host=target.host)) from error
        detail = f"{target.host}: {type(error).__name__}"
        if isinstance(error, _PERMANENT):
            raise causes.ANSWER.fault(detail, host=target.host) from error
        raise TransientFetchError(causes.CONNECTION.fault(detail, host=target.host)) from error
    finally:
        if connection is not None:
            connection.close()
    return answer


def _read(response: urllib3.HTTPResponse, target: Target, policy: FetchPolicy) -> bytes | str:
    status = response.status
    if status in TRANSIENT_STATUSES:
        wait = retry_after_seconds(response.headers.get("Retry-After"))
        fault = causes.STATUS_FOR_NOW.fault(host=target.host, status=status)
        raise TransientFetchError(fault, wait, is_of_host=bool(wait) or status in HOST_STATUSES)
    locations = set(response.headers.getlist("Location"))
    if status in REDIRECT_STATUSES and locations:
        if len(locations) > 1:
            raise causes.REDIRECT.fault(host=target.host, reason="several are named")
        # http.client decodes headers as Latin-1.
        return location_text(locations.pop().encode("latin-1"))
    if status not in SUCCESS_STATUSES:
        raise causes.STATUS.fault(host=target.host, status=status)
    announced = _announced(response, target)
    # int() refuses strings of thousands of digits, so long ones are not converted.
    if announced and (len(announced) > 15 or int(announced) >= policy.max_bytes):
        raise causes.TOO_MANY_BYTES.fault(
            f"{target.host}: {announced[:15]} bytes announced", limit=policy.max_bytes
        )
    body = read_body(
        response.stream(PIECE_BYTES, decode_content=False),
        _encodings(response, target),
        target.host,
        policy.max_bytes,
    )
    if not body and announced != "0":
        raise TransientFetchError(causes.ANSWER_CUT.fault(host=target.host))
    return body


def _encodings(response: urllib3.HTTPResponse, target: Target) -> str:
    """Return the encodings that the headers name, without the framing, and hide them from urllib3.

    Raises BrokenBase64OrUrl for a transfer encoding that can't be undone, since its framing would
    be taken for the picture.
    """
    transfer = response.headers.get("Transfer-Encoding", "").lower()
    names = [name.strip() for name in transfer.split(",")]
    for name in names:
        if name not in TRANSFER_ENCODINGS:
            raise causes.ENCODING.fault(host=target.host, encoding=shown(name))
    # Removed, since urllib3 refuses more than five by itself, of a plain picture too.
    content = response.headers.pop("Content-Encoding", "")
    return ",".join([content, *(name for name in names if name not in FRAMINGS)])


def _announced(response: urllib3.HTTPResponse, target: Target) -> str:
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
