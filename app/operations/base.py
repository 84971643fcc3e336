"""The declaration of an operation: its paths, request, answer and codes.

Routes, the reference and the list of tests per code are made from these declarations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.http.fields import RequestModel
from app.operations.answers import Refusal, Success
from app.operations.examples import Example
from app.services import Services
from contract import errors
from contract.errors import ContractError

#: A call with the same value and body as an earlier one is answered as that one was.
IDEMPOTENCY_HEADER = "Idempotency-Key"

#: Most characters of an Idempotency-Key.
KEY_CHARACTERS = 255

#: Codes of an image_content that is a string and not valid.
CONTENT_FAULTS: tuple[type[ContractError], ...] = (
    errors.BrokenBase64OrUrl,
    errors.NotSupportImage,
    errors.ImageSizeExceedLimit,
    errors.ImageTooSmall,
    errors.ImageTooLarge,
)


@dataclass(frozen=True)
class Call:
    """One call of an operation: who calls, and the JSON object that was sent."""

    user: str
    body: dict[str, Any]
    request_id: str
    idempotency_key: str | None = None  #: a call with the same one is answered the same


#: Performs an operation and returns the fields of its result besides code and message.
Handler = Callable[[Services, Call], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation of the contract."""

    name: str
    handler: Handler
    request: type[RequestModel]
    answer: type[Success]
    example: Example
    #: Codes of a call as a whole, besides `fault` and those that every call may get.
    codes: tuple[type[ContractError], ...] = ()
    #: Codes whose messages may stand in failed_list.
    item_codes: tuple[type[ContractError], ...] = ()
    fault: type[ContractError] = errors.InternalServerError
    refusal: type[Refusal] = Refusal
    path_of_old_clients: str | None = None
    takes_key: bool = False  #: whether it heeds an Idempotency-Key

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the operation, that of old clients last."""
        old = (f"/jdai/{self.path_of_old_clients}",) if self.path_of_old_clients else ()
        return (f"/v1/{self.name}", *old)

    @property
    def all_codes(self) -> tuple[type[ContractError], ...]:
        """The codes of a call as a whole, `fault` last."""
        return (*self.codes, self.fault)
