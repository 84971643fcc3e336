"""Transient faults of downloads; permanent ones are classes of `contract.errors`."""

from __future__ import annotations

from contract.errors import ContractError


class TransientFetchError(Exception):
    """The download failed, and another try may succeed."""

    def __init__(
        self,
        fault: ContractError,
        retry_after_seconds: float | None = None,
        *,
        is_of_host: bool = True,
    ) -> None:
        """Take the fault of the image if no later try succeeds, and the wait that the host wants.

        The wait is in seconds, None if the host asked for none. `is_of_host` says whether other
        URLs of the host are likely to meet the fault as well.
        """
        super().__init__(str(fault))
        self.fault = fault
        self.retry_after_seconds = retry_after_seconds
        self.is_of_host = is_of_host
        #: Host and port of the request that failed, which a redirect may have named; "" if unknown.
        self.endpoint = ""


class PutOffError(TransientFetchError):
    """The host was not asked, since it is to be left alone for now."""

    def __init__(self, fault: ContractError, seconds: float, *, down_seconds: float = 0.0) -> None:
        """Take how long to leave the host alone, and for how long it has been down, if it is."""
        super().__init__(fault, seconds, is_of_host=False)
        self.down_seconds = down_seconds
