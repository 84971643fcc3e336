"""Whom a program, and whatever it starts, talks to: read from strace, which sees every thread."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

NAME_SERVICE_PORT = 53

#: Where programs look names up that do not ask a name server themselves.
_RESOLVER_SOCKET = re.compile(r'sa_family=AF_UNIX, sun_path="(?P<path>[^"]*/resolve/[^"]*)"')
_ADDRESS = re.compile(
    r"sa_family=AF_INET6?, sin6?_port=htons\((?P<port>\d+)\)"
    r'[^}]*?(?:inet_addr\(|inet_pton\(AF_INET6, )"(?P<host>[^"]+)"'
)


@dataclass(frozen=True, order=True)
class Contact:
    """A connection that was tried, or a datagram that was sent."""

    host: str
    port: int

    @property
    def is_look_up(self) -> bool:
        return self.port == NAME_SERVICE_PORT or self.host.startswith("/")


def traced(file: Path, *, apart: bool = False) -> list[str]:
    """Return the beginning of a command that writes what the rest of it calls into `file`.

    With `apart`, signals for the command reach it and not strace. Skips the test without strace.
    """
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace command: install the package strace")
    how = ["--seccomp-bpf", "-f", *(["-D"] if apart else [])]
    # -s 0: nothing of what is sent is written.
    return [strace, *how, "-s", "0", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(file)]


def contacts(trace: str) -> set[Contact]:
    """Return everybody in a trace but local sockets. Raises ValueError for an unreadable line.

    A look-up that the local cache nscd answers is not seen: users and groups are asked of it, too.
    """
    found = set()
    for line in trace.splitlines():
        address, resolver = _ADDRESS.search(line), _RESOLVER_SOCKET.search(line)
        if address:
            found.add(Contact(address["host"], int(address["port"])))
        elif resolver:
            found.add(Contact(resolver["path"], 0))
        elif "sa_family=AF_INET" in line or (" connect(" in line and "sa_family=" not in line):
            raise ValueError(f"no address is seen in: {line}")
    return found


def strangers(trace: str, own_ports: set[int]) -> list[Contact]:
    """Return the contacts in a trace that are not servers on these ports of this machine.

    The C library, to put addresses in order, connects datagram sockets without a port, which sends
    nothing; that is no contact if it is to this machine.
    """
    return sorted(
        contact
        for contact in contacts(trace)
        if contact.is_look_up
        or contact.port not in own_ports | {0}
        or not ip_address(contact.host).is_loopback
    )
