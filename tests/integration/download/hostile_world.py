"""Real sockets on loopback for one hostile row: one that may be asked, and others that may not.

`public` stands for a server of the internet and says what the row wants. `forbidden` is
the network behind the service: the same port on other addresses, and another port of the
public address. `trap` may be asked by its address and port alone, so that what leads there
is stopped by another rule, or by none. The policy lets the worker's own rules decide: a
guard that is missing leads to a socket that accepts.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType

from config.allow_list import AllowList
from download.policy import FetchPolicy

PUBLIC = "127.0.0.1"
#: 127.0.0.2 is as reachable as a database beside the service would be.
FORBIDDEN = "127.0.0.2"
MAX_BYTES = 200_000
#: What has no end ends all the same, so that a missing deadline fails a row and hangs no run.
ENDLESS_SECONDS = 60.0
#: A server that sends to a client which no longer reads gives up after that.
BLOCKED_SECONDS = 4.0

Talk = Callable[["World", socket.socket, bytes], None]


@dataclass(frozen=True)
class Hostile:
    """A URL, and what stands behind it; words in capitals are filled in by the world."""

    url: str
    #: What the public server does with a request; without it no server may be asked.
    talk: Talk | None = None
    #: The addresses of names, look-up by look-up; the last one stays.
    names: dict[str, list[list[str]]] = field(default_factory=dict)
    #: How the public server meets a connection: "plain", "tls", or "raw" to read nothing.
    meets: str = "plain"
    #: Whether the client is to trust the certificate of the public server.
    trusted: bool = True
    deadline: float = 0.5


class World:
    """The sockets of one row, from entering it to leaving it."""

    def __init__(self, row: Hostile, certificate: Path | None) -> None:
        self._row = row
        self._certificate = certificate
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._asked: dict[str, int] = {}
        self.stopping = threading.Event()
        #: Connections that the public server accepted.
        self.accepted = 0
        #: Where a connection came that may not be: "forbidden", "other port" or "trap".
        self.reached: list[str] = []
        self._public, self._forbidden = _pair_on_one_port()
        self.port: int = self._public.getsockname()[1]
        self._others = {"forbidden": self._forbidden}
        with contextlib.suppress(OSError):
            self._others["forbidden v6"] = socket.create_server(
                ("::1", self.port), family=socket.AF_INET6
            )
        self._others["other port"] = socket.create_server((PUBLIC, 0))
        self._others["trap"] = socket.create_server((PUBLIC, 0))
        self.trap: int = self._others["trap"].getsockname()[1]
        self.other_port: int = self._others["other port"].getsockname()[1]

    def __enter__(self) -> World:
        self._start(self._accept, self._public, self._meet)
        for name, listening in self._others.items():
            self._start(self._accept, listening, partial(self._fell, name))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()
        for listening in (self._public, *self._others.values()):
            listening.close()

    def fill(self, text: str) -> str:
        """Put this world's ports in the place of the words PORT, TRAP and OTHER."""
        for word, port in (("PORT", self.port), ("TRAP", self.trap), ("OTHER", self.other_port)):
            text = text.replace(word, str(port))
        return text

    def policy(self) -> FetchPolicy:
        """Return a policy to which only the public server and the trap are of the internet.

        The public port is open for every global address, so that a forbidden address is
        never refused for its port.
        """
        trusts = self._row.meets == "tls" and self._row.trusted
        return FetchPolicy(
            allow=AllowList.parse(f"{PUBLIC}:{self.port},{PUBLIC}:{self.trap}"),
            max_bytes=MAX_BYTES,
            ports=frozenset({80, 443, self.port}),
            connect_seconds=60.0,
            read_gap_seconds=60.0,
            total_seconds=15.0,
            ca_file=str(self._certificate) if trusts else None,
        )

    def resolver(self, host: str, port: int) -> list[str]:
        """Answer as the row's names say; every other name is the public server."""
        if host == "silent.test":
            self.stopping.wait(ENDLESS_SECONDS)
        with self._lock:
            asked = self._asked[host] = self._asked.get(host, 0) + 1
        answers = self._row.names.get(host, [[PUBLIC]])
        return answers[min(asked, len(answers)) - 1]

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket, meet: Callable[[socket.socket], None]) -> None:
        listening.settimeout(0.05)
        last = False
        # Once more after the end: what waits in the backlog has come too.
        while not last:
            last = self.stopping.is_set()
            with contextlib.suppress(TimeoutError):
                while True:
                    connection, _ = listening.accept()
                    self._start(self._hold, connection, meet)

    def _hold(self, connection: socket.socket, meet: Callable[[socket.socket], None]) -> None:
        # A client that turns away is what the rows are about.
        with connection, contextlib.suppress(OSError):
            connection.settimeout(BLOCKED_SECONDS)
            meet(connection)

    def _fell(self, name: str, connection: socket.socket) -> None:
        with self._lock:
            self.reached.append(name)

    def _meet(self, connection: socket.socket) -> None:
        with self._lock:
            self.accepted += 1
        if self._row.talk is None:
            return
        if self._row.meets == "raw":
            self._row.talk(self, connection, b"")
        elif self._row.meets == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            assert self._certificate is not None
            context.load_cert_chain(self._certificate)
            with context.wrap_socket(connection, server_side=True) as secure:
                self._row.talk(self, secure, _request(secure))
        else:
            self._row.talk(self, connection, _request(connection))


def _request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError("no whole request")
        request += piece
    return request


def _pair_on_one_port() -> tuple[socket.socket, socket.socket]:
    """Return listening sockets of the public and of the forbidden address, on one port."""
    while True:
        public = socket.create_server((PUBLIC, 0))
        try:
            return public, socket.create_server((FORBIDDEN, public.getsockname()[1]))
        except OSError:
            public.close()
