"""What a fetch may do: addresses, ports, sizes and times, as one value.

The thin API process imports this module, so it loads no HTTP client.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.allow_list import AllowList
from config.version import VERSION

if TYPE_CHECKING:
    from config.settings import Settings


@dataclass(frozen=True, kw_only=True)
class FetchPolicy:
    """The limits of every fetch; times are seconds, sizes are bytes."""

    #: Hosts and networks that may be non-global, or use ports of their own.
    allow: AllowList
    #: A file must be smaller than this, after any content encoding is undone.
    max_bytes: int
    #: Ports that every global address may be asked on.
    ports: frozenset[int]
    #: Longest time to connect to one address, TLS handshake not included.
    connect_seconds: float
    #: Longest silence of a server that is connected.
    read_gap_seconds: float
    #: Longest time of one fetch with all of its redirects.
    total_seconds: float
    #: Redirects that are followed; one more is refused.
    redirects: int = 3
    #: How the client names itself; the workers add the version of the program.
    user_agent: str = "snapsku"
    #: A PEM file of certificate authorities to trust instead of the public ones.
    ca_file: str | None = None


def fetch_policy_of(chosen: Settings) -> FetchPolicy:
    """Return what a fetch of a product's picture may do."""
    return FetchPolicy(
        allow=AllowList.parse(chosen.fetch_allow),
        max_bytes=chosen.image_bytes,
        ports=frozenset(int(port) for port in chosen.fetch_ports),
        connect_seconds=chosen.fetch_connect_seconds,
        read_gap_seconds=chosen.fetch_gap_seconds,
        total_seconds=chosen.fetch_image_seconds,
        user_agent=f"snapsku/{VERSION} (+product image search)",
    )
