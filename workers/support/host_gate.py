"""Which hosts a worker asks for pictures: those that are not left alone, by the state in Redis."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from redis.exceptions import RedisError

from broker.host_states import HostStates, PauseKind
from contract.causes import HOST_ASKED_TO_WAIT, HOST_DOWN
from download.faults import PutOffError, TransientFetchError

log = structlog.get_logger(__name__)


class HostGate:
    """The states of hosts as `download.batch` asks for them.

    Without Redis every host is asked; the stage can't end without Redis anyway.
    """

    def __init__(self, states: HostStates) -> None:
        self._states = states

    def put_off(self, host: str) -> PutOffError | None:
        """Return why `host` is not to be asked now, or None if it is."""
        try:
            pause = self._states.pause(host)
        except RedisError as error:
            log.warning("state of a host not read, it is asked", host=host, fault=str(error))
            return None
        if pause is None:
            return None
        name = host.rpartition(":")[0]
        cause = HOST_ASKED_TO_WAIT if pause.kind is PauseKind.ASKED_FOR else HOST_DOWN
        return PutOffError(
            cause.fault(host=name, reason=pause.reason),
            pause.seconds,
            down_seconds=pause.age_seconds if pause.kind is PauseKind.DOWN else 0.0,
        )

    def answered(self, host: str) -> None:
        """Note that `host` answered, if with an error about one URL."""
        self._note(host, lambda: self._states.answered(host))

    def failed(self, host: str, error: TransientFetchError) -> None:
        """Note a fault that other URLs of `host` would meet as well."""
        reason = error.fault.detail or error.fault.message
        self._note(host, lambda: self._states.failed(host, reason, error.retry_after_seconds))

    def _note(self, host: str, write: Callable[[], None]) -> None:
        try:
            write()
        except RedisError as error:
            log.warning("state of a host not written", host=host, fault=str(error))
