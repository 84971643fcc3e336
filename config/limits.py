"""The limits that the settings set: of a download, and of a picture."""

from __future__ import annotations

from config.settings import Settings
from config.version import VERSION
from download.address import AllowList
from download.policy import FetchPolicy
from vision.picture import PictureLimits


def picture_limits_of(chosen: Settings) -> PictureLimits:
    """Return the limits of a picture."""
    return PictureLimits(
        max_bytes=chosen.image_bytes,
        min_side=chosen.image_min_side,
        max_side=chosen.image_max_side,
    )


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
