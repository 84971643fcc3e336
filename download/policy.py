"""The limits of a fetch: addresses, ports, sizes and times.

The API process imports this module, so it loads no HTTP client.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.allow_list import AllowList
from config.version import VERSION

if TYPE_CHECKING:
    from config.settings import Settings

#: What a body must be smaller than where `SNAPSKU_IMAGE_BYTES` is 0: a fetch holds it in memory.
UNLIMITED_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class FetchPolicy:
    """The limits of every fetch; times are in seconds, sizes in bytes."""

    #: Hosts and networks that may be fetched from although not global, or on further ports.
    allow: AllowList
    #: A body must be smaller than this, after decompression.
    max_bytes: int
    #: The ports that are allowed for every global address.
    ports: frozenset[int]
    #: The longest time to connect to one address, without the TLS handshake.
    connect_seconds: float
    #: The longest pause between two reads.
    read_gap_seconds: float
    #: The longest time of one fetch with all of its redirects.
    total_seconds: float
    #: Redirects that are followed; one more is refused.
    redirects: int = 5
    #: The value of the User-Agent header.
    user_agent: str = "snapsku"
    #: A PEM file of certificate authorities to trust instead of those of certifi.
    ca_file: str | None = None


def fetch_policy_of(chosen: Settings) -> FetchPolicy:
    """Return the limits that settings give for fetching pictures."""
    return FetchPolicy(
        allow=AllowList.parse(chosen.fetch_allow),
        max_bytes=chosen.image_bytes or UNLIMITED_BYTES,
        ports=frozenset(int(port) for port in chosen.fetch_ports),
        connect_seconds=chosen.fetch_connect_seconds,
        read_gap_seconds=chosen.fetch_gap_seconds,
        total_seconds=chosen.fetch_image_seconds,
        redirects=chosen.fetch_redirects,
        user_agent=f"snapsku/{VERSION} (+product image search)",
    )
