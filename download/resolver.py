"""DNS lookups with a deadline.

The C library's lookup has no timeout, so it runs in a thread of its own, which is abandoned when
the deadline passes.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence

from contract import causes
from download.faults import TransientFetchError

#: Takes a host and a port, and returns addresses as text; raises OSError if the lookup fails.
Resolver = Callable[[str, int], Sequence[str]]

#: The name does not exist, or has no address: permanent faults. Some platforms lack the second
#: number.
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


def system_resolver(host: str, port: int) -> list[str]:
    """Return all IPv4 and IPv6 addresses of `host` in the system's order of preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def resolve(host: str, port: int, resolver: Resolver, deadline: float) -> list[str]:
    """Look `host` up once, and return its addresses; `deadline` is in `time.monotonic()`.

    Raises BrokenBase64OrUrl if the name does not exist or has no address, TransientFetchError if
    the lookup failed or was not done by the deadline.
    """
    answers: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(resolver(host, port))
        except Exception as error:  # raised by the caller's thread
            answers.put(error)

    threading.Thread(target=look_up, name="download-dns", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise TransientFetchError(
            causes.NAME_SERVER.fault(f"{host}: no answer of DNS by the deadline", host=host)
        ) from None
    if isinstance(answer, UnicodeError):
        raise causes.HOST.fault(f"{host} is not a name for DNS", host=host) from answer
    if isinstance(answer, OSError):
        if isinstance(answer, socket.gaierror) and answer.errno in _NO_SUCH_NAME:
            raise causes.HOST.fault(f"{host} does not exist", host=host) from answer
        raise TransientFetchError(causes.NAME_SERVER.fault(host=host)) from answer
    if isinstance(answer, Exception):
        raise answer
    if not answer:
        raise causes.HOST.fault(f"{host} has no address", host=host)
    return list(answer)
