"""Connections to checked addresses that end when their deadline does.

`requests-hardened` (1.3.0) pins an address too, but it checks only the first answer of DNS,
has no allow-list, no resolver of one's choice, no total deadline and no cap on a body; what
is left of it is less than this module, so it is not used. Here a urllib3 connection keeps
the URL's name (for the Host header, SNI and the certificate) and merely gets its socket from us.

urllib3 bounds each read, never their sum. A watchdog therefore shuts the
socket down at the deadline, whatever phase it is in. It holds a duplicate of the
descriptor, since the TLS layer takes the first one away during its handshake.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection

from contract import causes
from download.address import Target
from download.head import read_head

Dial = Callable[[], socket.socket]


class Watchdog:
    """Shuts the guarded socket down at `deadline`, in seconds of `time.monotonic()`."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        #: Set before the socket is shut down; an end of data seen after that is no regular end.
        self.expired = False
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self._timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._expire)
        self._timer.name = "download-watchdog"
        self._timer.daemon = True

    def __enter__(self) -> Watchdog:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._release()

    def remaining(self) -> float:
        """Return the seconds until the deadline. Raises TimeoutError if it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0 or self.expired:
            raise TimeoutError("the deadline has passed")
        return left

    def guard(self, sock: socket.socket) -> None:
        """Guard `sock` from now on, in place of any other; shut it down if the deadline passed."""
        with self._lock:
            self._release()
            self._handle = sock.dup()
            if self.expired:
                self._shut_down()

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._handle is not None:
            # A socket that is not connected raises.
            with contextlib.suppress(OSError):
                self._handle.shutdown(socket.SHUT_RDWR)

    def _release(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None


def dial(
    addresses: Sequence[str], port: int, watchdog: Watchdog, connect_seconds: float
) -> socket.socket:
    """Return a socket that is connected to the first of `addresses` that answers.

    Each is tried for at most `connect_seconds`.

    Raises ConnectionError if none answered or the deadline passed; its cause is the last fault.
    """
    fault: OSError | None = None
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            watchdog.guard(sock)
            sock.settimeout(min(connect_seconds, watchdog.remaining()))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect((address, port))
        except OSError as error:
            sock.close()
            fault = error
        else:
            return sock
    raise ConnectionError("no address could be connected to") from fault


class _Answer(http.client.HTTPResponse):
    """An answer whose head `read_head` has read and cleaned."""

    def __init__(self, *args: Any, host: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._host = host

    def begin(self) -> None:
        """Read the head, up to the body. Raises what `read_head` raises."""
        stream = self.fp
        self.fp = io.BufferedReader(io.BytesIO(read_head(stream, self._host)))
        try:
            super().begin()
        finally:
            self.fp = stream
        # Of what is left of them urllib3 would log a warning with the URL, which may be secret.
        self.headers.defects.clear()

    def _safe_read(self, amt: int) -> bytes:
        """Return the next `amt` bytes; urllib3 reads chunks so, of any size that `int` can read.

        Raises BrokenBase64OrUrl for one below zero: -1 would be read until the host ends, whatever
        came.
        """
        if amt < 0:
            raise causes.ANSWER.fault(f"{self._host}: a chunk of {amt} bytes", host=self._host)
        data: bytes = super()._safe_read(amt)  # type: ignore[misc]  # typeshed lacks it
        return data


class _DialledConnection(HTTPConnection):
    """A connection whose socket comes from a `Dial`."""

    def __init__(self, *args: Any, dial: Dial, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dial = dial
        self._answer: http.client.HTTPResponse | None = None

    def _new_conn(self) -> socket.socket:
        return self._dial()

    def response_class(  # type: ignore[override]  # a class there, and only ever called
        self, *args: Any, **kwargs: Any
    ) -> http.client.HTTPResponse:
        self._answer = _Answer(*args, host=self.host, **kwargs)
        return self._answer

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        try:
            return super().getresponse()
        except Exception:
            # urllib3 drops an answer whose headers it refuses without closing it. The answer owns
            # the socket by then, which would leak a descriptor until garbage collection.
            if self._answer is not None:
                self._answer.close()
            raise


class _DialledTlsConnection(_DialledConnection, HTTPSConnection):
    """The same over TLS; an invalid certificate is a permanent fault."""

    def connect(self) -> None:
        try:
            super().connect()
        except (ssl.SSLCertVerificationError, ssl.CertificateError) as error:
            raise causes.CERTIFICATE.fault(host=self.host) from error


@functools.lru_cache(maxsize=8)
def _tls_context(ca_file: str) -> ssl.SSLContext:
    """Return the cached context of all connections; loading the authorities takes 20 ms."""
    return ssl.create_default_context(cafile=ca_file)


def connection_to(
    target: Target, dial: Dial, read_gap_seconds: float, ca_file: str | None = None
) -> HTTPConnection:
    """Return a connection for one request to `target`, not yet connected.

    Once connected, a read takes at most `read_gap_seconds`. It is of no pool, since urllib3's pools
    write each URL anew.
    """
    if target.scheme == "http":
        return _DialledConnection(target.host, target.port, dial=dial, timeout=read_gap_seconds)
    return _DialledTlsConnection(
        target.host,
        target.port,
        dial=dial,
        timeout=read_gap_seconds,
        cert_reqs="CERT_REQUIRED",
        ssl_context=_tls_context(ca_file or DEFAULT_CA_BUNDLE_PATH),
    )


def ask(connection: HTTPConnection, path: str, headers: Mapping[str, str]) -> HTTPResponse:
    """Connect, send a GET request for exactly `path`, and return the answer with its body unread.

    The body is never decoded by urllib3. Raises OSError or HTTPException if there is no answer,
    ContractError if there can be none.
    """
    connection.connect()
    # A host may answer and close before it has read the request; its answer counts.
    with contextlib.suppress(BrokenPipeError):
        connection.request("GET", path, headers=headers, preload_content=False)
    return connection.getresponse()
