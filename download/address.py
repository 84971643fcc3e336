"""Which URLs and addresses may be fetched, checked without a DNS lookup.

The API process imports this module: it opens no socket and asks no DNS. Host names pass here;
the client checks their addresses with `address_allowed` before it connects.
"""

from __future__ import annotations

import ipaddress
import socket
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from config.allow_list import NAME, NUMERIC_END, Address, Network, ascii_name
from contract import causes
from download.url import request_target, trimmed

if TYPE_CHECKING:
    from download.policy import FetchPolicy

#: Longer URLs are refused.
URL_CHARACTERS_LIMIT = 8192
DEFAULT_PORTS = {"http": 80, "https": 443}

#: The one block of IPv6 that IANA assigns as global unicast. The local-use blocks of NAT64
#: (64:ff9b:1::/48, RFC 8215) lie outside it and are refused whole: their operators choose where
#: the IPv4 address is in them, so it can't be extracted.
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
#: NAT64 (RFC 6052): the last 32 bits are an IPv4 address.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Refused although `is_global` is true for them in some or all versions of Python.
_SPECIAL: tuple[Network, ...] = (
    ipaddress.IPv4Network("192.0.0.0/24"),  # IETF protocols; a cloud serves metadata here
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays of 6to4
    ipaddress.IPv4Network("168.63.129.16/32"),  # a cloud's internal server for its machines
    ipaddress.IPv6Network("3fff::/20"),  # documentation
)
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def _without_zone(text: str) -> Address:
    return ipaddress.ip_address(text.partition("%")[0])


def _embedded(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address stands for; () if it stands for none."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if address in _NAT64:
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return ()


def is_global_address(ip: str | Address) -> bool:
    """Return whether `ip` is a global unicast address.

    An IPv6 address that contains IPv4 addresses (mapped, 6to4, Teredo, NAT64) is global if all
    of those are; a zone id is ignored. Source: IANA's special-purpose registries, through
    `ipaddress`.

    Raises ValueError if `ip` is not an address.
    """
    address = _without_zone(str(ip))
    embedded = _embedded(address)
    if embedded:
        return all(is_global_address(inner) for inner in embedded)
    if address.version == 6 and address not in _GLOBAL_IPV6:
        return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast


@dataclass(frozen=True)
class Target:
    """A URL that passed the check: what to connect to and what to ask for, in ASCII."""

    scheme: str
    host: str
    port: int
    #: Path and query, as the request line has them.
    path: str
    #: The address of a host that is a literal address, None for a name.
    address: Address | None

    @property
    def endpoint(self) -> str:
        """Host and port, which name a server."""
        return f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Return the value of the Host header: the host, and the port if it is not the default."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == DEFAULT_PORTS[self.scheme] else f"{shown}:{self.port}"

    @property
    def url(self) -> str:
        """Return the URL, rebuilt from what was judged."""
        return f"{self.scheme}://{self.authority}{self.path}"


def address_allowed(address: Address, target: Target, policy: FetchPolicy) -> bool:
    """Return whether `target` may be fetched from `address`, on the target's port."""
    if policy.allow.permits_address(address, target.port):
        return True
    if policy.allow.permits_name(target.host, target.port):
        return True
    return target.port in policy.ports and is_global_address(address)


def check_url(url: str, policy: FetchPolicy) -> None:
    """Check a URL by its scheme, port, host and literal address, without a DNS lookup.

    Raises BrokenBase64OrUrl if the URL is malformed or forbidden.
    """
    judge_url(url, policy)


def judge_url(url: str, policy: FetchPolicy) -> Target:
    """Check a URL like `check_url`, and return its target.

    The target has the checked parts, and a request is made of them alone, so that no other parser
    can read a different host in the URL.

    Raises BrokenBase64OrUrl if the URL is malformed or forbidden.
    """
    url = trimmed(url)
    parts = _split(url)
    host, address = _judge_host(parts)
    try:
        port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError as error:
        raise causes.URL_PORT_SYNTAX.fault() from error
    # Of the text, not of `parts`, which lack the "?" of an empty query.
    path = request_target(url.partition("://")[2][len(parts.netloc) :])
    target = Target(parts.scheme, host, port, path, address)
    if address is not None:
        if not address_allowed(address, target, policy):
            shown = f"[{host}]" if ":" in host else host
            raise causes.HOST.fault(f"{shown}:{port} is a forbidden address", host=shown)
    elif not (
        port in policy.ports
        or policy.allow.permits_name(host, port)
        or policy.allow.may_permit_port(port)
    ):
        raise causes.URL_PORT.fault(port=port)
    return target


def _split(url: str) -> SplitResult:
    if len(url) > URL_CHARACTERS_LIMIT:
        raise causes.URL_TOO_LONG.fault(limit=URL_CHARACTERS_LIMIT)
    # Parsers disagree about these characters, and some silently drop them.
    if "\\" in url or any(unicodedata.category(character) in _UNPRINTABLE for character in url):
        raise causes.URL_CHARACTERS.fault()
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise causes.URL_SYNTAX.fault() from error
    if parts.scheme not in DEFAULT_PORTS:
        raise causes.URL_SCHEME.fault()
    if "@" in parts.netloc:
        raise causes.URL_CREDENTIALS.fault()
    return parts


def _judge_host(parts: SplitResult) -> tuple[str, Address | None]:
    """Return the host in normalised form, and its address, None unless it is a literal one.

    Raises BrokenBase64OrUrl for an invalid host.
    """
    raw = parts.hostname or ""
    try:
        if "[" in parts.netloc:
            address: Address = _without_zone(raw)
            return str(address), address
        host = ascii_name(raw)
        if NUMERIC_END.search(host):
            # As the C library parses it: decimal, octal or hexadecimal, in one to four parts.
            address = ipaddress.IPv4Address(socket.inet_aton(host))
            return str(address), address
    except (ValueError, OSError) as error:
        raise causes.URL_HOST.fault() from error
    if not NAME.match(host):
        raise causes.URL_HOST.fault()
    return host, None
