"""Lists as operators write them: the allow-list of downloads, and the grammar of its host names.

It is parsed when settings are read, so a bad entry ends a process at its start.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from typing import Annotated, Any

import idna
from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


#: Chinese keyboards give this one; it separates as the plain one does.
FULL_WIDTH_COMMA = "\uff0c"

NAME_CHARACTERS_LIMIT = 253
NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z")
#: No top-level domain is a number, so a host that ends in one is an IPv4 literal.
NUMERIC_END = re.compile(r"(?:\A|\.)(?:[0-9]+|0x[0-9a-f]*)\Z")


def ascii_name(host: str) -> str:
    """Return a host in lower case, in ASCII and without a final dot.

    By IDNA 2008 after the mapping of UTS 46. Symbols, such as emoji, are allowed too, since there
    are hosts named so and browsers find them.

    Raises ValueError if there is no ASCII form for it.
    """
    host = host.lower()
    if not host.isascii():
        if len(host) > NAME_CHARACTERS_LIMIT:  # encoding takes the square of the time
            raise ValueError("the name is too long")
        mapped = idna.uts46_remap(host, std3_rules=False)
        host = ".".join(map(_ascii_label, mapped.split(".")))
    return host.removesuffix(".")


def _ascii_label(label: str) -> str:
    if not label:
        return ""
    plain = "".join(char for char in label if not unicodedata.category(char).startswith("S"))
    if plain == label:
        return idna.alabel(label).decode("ascii")
    for check in (idna.check_nfc, idna.check_hyphen_ok, idna.check_initial_combiner):
        check(label)
    idna.check_bidi(label)
    if letters := plain.replace("-", ""):
        idna.check_label(letters)
    return "xn--" + label.encode("punycode").decode("ascii")


@dataclass(frozen=True)
class AllowList:
    """Hosts and networks that may be non-global and may use ports of their own.

    An entry with a port allows that port only; an entry without one allows every port. An entry for
    a name covers every address of that name.
    """

    names: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[tuple[Network, int | None], ...] = ()

    @classmethod
    def parse(cls, text: str) -> AllowList:
        """Parse a comma-separated setting such as "10.0.0.0/8, files.internal:8080, [::1]:9000".

        Raises ValueError for an entry that is not a host or a network, with or without a port.
        """
        names: set[tuple[str, int | None]] = set()
        networks: list[tuple[Network, int | None]] = []
        for entry in filter(None, map(str.strip, text.split(","))):
            host, port = _split_entry(entry)
            try:
                networks.append((ipaddress.ip_network(host), port))
                continue
            except ValueError as error:
                reason = str(error)
            if "/" in host or ":" in host:
                raise ValueError(f"allow-list entry {entry!r}: {reason}")
            try:
                name = ascii_name(host)
            except ValueError as error:
                raise ValueError(f"allow-list entry {entry!r}: {error}") from error
            if not NAME.match(name) or NUMERIC_END.search(name):
                raise ValueError(f"allow-list entry {entry!r} is neither a host nor a network")
            names.add((name, port))
        return cls(frozenset(names), tuple(networks))

    def permits_name(self, name: str, port: int) -> bool:
        """Return whether an entry allows this host name on this port."""
        return (name, port) in self.names or (name, None) in self.names

    def permits_address(self, address: Address, port: int) -> bool:
        """Return whether a listed network allows this address on this port."""
        forms: list[Address] = [address]
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            forms.append(address.ipv4_mapped)
        return any(
            listed in (None, port) and any(form in network for form in forms)
            for network, listed in self.networks
        )

    def may_permit_port(self, port: int) -> bool:
        """Return whether any listed network allows this port, for an address still unknown."""
        return any(listed in (None, port) for _, listed in self.networks)


def _split_entry(entry: str) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[([^\[\]]+)\](?::([0-9]+))?", entry)
    plain = re.fullmatch(r"([^:\[\]]+)(?::([0-9]+))?", entry)
    found = bracketed or plain
    if found is None:
        # Two colons or more without brackets: a bare IPv6 address or network.
        if entry.count(":") > 1 and "[" not in entry:
            return entry, None
        raise ValueError(f"allow-list entry {entry!r} is not a host or a network with a port")
    port = None if found[2] is None else int(found[2])
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"allow-list entry {entry!r}: a port is 1 to 65535")
    return found[1], port


def _plain_commas(value: str) -> str:
    return value.replace(FULL_WIDTH_COMMA, ",")


def split_list(value: Any) -> Any:
    """Return the parts of a comma-separated text; anything else as it is.

    Raises ValueError for an empty part.
    """
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in _plain_commas(value).split(",")]
    if not all(parts):
        raise ValueError("has an empty part between its commas")
    return parts


def _checked(value: str) -> str:
    value = _plain_commas(value)
    AllowList.parse(value)
    return value


#: The types of settings that are lists.
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list)]
AllowListText = Annotated[str, AfterValidator(_checked)]
