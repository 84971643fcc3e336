"""The fault of a download that may go better later.

Faults for good are classes of `contract.errors`. The module knows of no HTTP client.
"""

from __future__ import annotations


class TransientFetchError(Exception):
    """The download failed in a way that another try may mend."""

    def __init__(self, detail: str, retry_after_seconds: float | None = None) -> None:
        """Keep `detail` for the log and the wait that the server asked for, if any."""
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds
