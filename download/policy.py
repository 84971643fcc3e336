"""What a fetch may do: addresses, ports, sizes and times, as one value.

The module knows of no HTTP client and reads no setting; its maker fills it in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from download.address import AllowList


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
