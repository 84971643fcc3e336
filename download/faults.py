"""The transient fault of a download; permanent ones are classes of `contract.errors`."""

from __future__ import annotations


class TransientFetchError(Exception):
    """The download failed, and another try may succeed."""

    def __init__(self, detail: str, retry_after_seconds: float | None = None) -> None:
        """Take a detail for the log, and the wait that the server asked for, if any."""
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds
