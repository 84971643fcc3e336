"""Connections to checked addresses that end when their deadline does.

`requests-hardened` (1.3.0) pins an address too, but it checks only the first answer of DNS,
has no allow-list, no resolver of one's choice, no total deadline and no cap on a body; what
is left of it is less than this module, so it is not used. Here a urllib3 connection keeps
the URL's name (for the Host header, SNI and the certificate) and merely gets its socket
from us.

requests and urllib3 bound each read, never their sum. A watchdog therefore shuts the
socket down at the deadline, whatever phase it is in. It holds a duplicate of the
descriptor, since the TLS layer takes the first one away during its handshake.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from contract import causes

if TYPE_CHECKING:
    import requests
    from urllib3 import HTTPResponse

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
    # Not the fault itself: urllib3 takes a broken pipe here for one while sending the request.
    raise ConnectionError("no address could be connected to") from fault


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
        self._answer = http.client.HTTPResponse(*args, **kwargs)
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
        except BrokenPipeError as error:
            # urllib3 takes a broken pipe here for one while sending the request.
            raise ConnectionError("the connection ended during the TLS handshake") from error


class _DialledPool(HTTPConnectionPool):
    ConnectionCls = _DialledConnection


class _DialledTlsPool(HTTPSConnectionPool):
    ConnectionCls = _DialledTlsConnection


@functools.lru_cache(maxsize=8)
def _tls_context(ca_file: str) -> ssl.SSLContext:
    """Return the cached context of all connections; loading the authorities takes 20 ms."""
    return ssl.create_default_context(cafile=ca_file)


class DialAdapter(HTTPAdapter):
    """A requests adapter for one request, whose socket comes from a `Dial`.

    Its `send` is called without a session, which would read the whole body of a redirect
    before returning it, and would read proxies and credentials from the environment.
    """

    def __init__(self, dial: Dial, ca_file: str | None = None) -> None:
        super().__init__()
        self._dial = dial
        self._ca_file = ca_file or DEFAULT_CA_BUNDLE_PATH
        self._pool: HTTPConnectionPool | None = None

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Any,
        proxies: Any = None,  # noqa: ARG002  # the base class's signature; none is ever used
        cert: Any = None,
    ) -> HTTPConnectionPool:
        """Return a pool of one connection to the request's host."""
        parts, _ = self.build_connection_pool_key_attributes(request, verify, cert)
        if parts["scheme"] == "https":
            self._pool = _DialledTlsPool(
                parts["host"],
                parts["port"],
                dial=self._dial,
                cert_reqs="CERT_REQUIRED",
                ssl_context=_tls_context(self._ca_file),
            )
        else:
            self._pool = _DialledPool(parts["host"], parts["port"], dial=self._dial)
        return self._pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: the base class would load the authorities again."""

    def close(self) -> None:
        """Close the connection, if one is open."""
        if self._pool is not None:
            self._pool.close()
        super().close()
