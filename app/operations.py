"""The list of operations: their two paths, and the code of a fault of ours in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.services import Services
from contract.errors import ContractError, InternalServerError


@dataclass(frozen=True)
class Call:
    """One call of an operation: who calls, and the JSON object that was sent."""

    user: str
    body: dict[str, Any]
    request_id: str


#: Does an operation and gives the fields of its result besides code and message.
Handler = Callable[[Services, Call], dict[str, Any]]


@dataclass(frozen=True)
class Operation:
    """An operation of the contract."""

    name: str
    handler: Handler
    path_of_old_clients: str | None = None
    fault: type[ContractError] = InternalServerError

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that lead to it."""
        old = (f"/jdai/{self.path_of_old_clients}",) if self.path_of_old_clients else ()
        return (f"/v1/{self.name}", *old)
