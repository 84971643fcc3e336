"""The transient fault of a download; permanent ones are classes of `contract.errors`."""

from __future__ import annotations

from contract.errors import ContractError


class TransientFetchError(Exception):
    """The download failed, and another try may succeed."""

    def __init__(self, fault: ContractError, retry_after_seconds: float | None = None) -> None:
        """Take the fault of the image if no later try succeeds, and the wait that the host wants.

        The wait is in seconds, None if the host asked for none.
        """
        super().__init__(str(fault))
        self.fault = fault
        self.retry_after_seconds = retry_after_seconds
