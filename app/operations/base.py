"""The declaration of an operation: its paths, request, answer and codes.

Three programs read the declarations: `app.server` makes routes of them, `app.reference` and
docs/make_reference.py the reference, and `tests.contract_coverage` the list of tests per code. A
code that an operation answers and does not declare is missing in the last two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.http.fields import RequestModel
from app.operations.answers import Refusal, Success
from app.operations.examples import Example
from app.services import Services
from contract import errors
from contract.errors import ContractError

#: For a day, a call with the same value and body as an earlier one is answered as that one was.
#: Other operations than those with `takes_key` ignore it.
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
    """One call of an operation, which the gate has admitted and the quotas have counted."""

    user: str
    body: dict[str, Any]  #: the JSON object that was sent, not judged yet
    request_id: str  #: the X-Request-Id of the answer, for log lines of other processes
    idempotency_key: str | None = None  #: the header as it was sent, not judged yet


#: Performs an operation and returns the fields of its result besides code and message. Raises a
#: ContractError, Refused or Busy for a call that is refused; any other exception is answered with
#: the `fault` of the operation, unless it says that MongoDB or Redis is away (10020).
Handler = Callable[[Services, Call], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation of the contract."""

    name: str  #: the last part of its path, and its name in logs and the reference
    handler: Handler  #: the first line of its docstring is the summary in the reference
    request: type[RequestModel]  #: for the reference; the handler parses the body itself
    answer: type[Success]  #: the fields of its result, for the reference
    example: Example
    #: Codes of a call as a whole, besides `fault` and those that every call may get.
    codes: tuple[type[ContractError], ...] = ()
    #: Codes whose messages may stand in failed_list, each for one item.
    item_codes: tuple[type[ContractError], ...] = ()
    #: The code of a call whose handler raised something unexpected; by default with HTTP 500.
    fault: type[ContractError] = errors.InternalServerError
    refusal: type[Refusal] = Refusal  #: the fields of a refused call, for the reference
    path_of_old_clients: str | None = None  #: what follows /jdai/ in its older path
    takes_key: bool = False  #: whether it heeds an Idempotency-Key
    #: Returns what Retry-After is to say with a result, in seconds; None for no such header.
    poll_again: Callable[[Mapping[str, Any]], int | None] = lambda _: None

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the operation, all by POST, that of old clients last."""
        old = (f"/jdai/{self.path_of_old_clients}",) if self.path_of_old_clients else ()
        return (f"/v1/{self.name}", *old)

    @property
    def all_codes(self) -> tuple[type[ContractError], ...]:
        """The codes of a call as a whole, `fault` last."""
        return (*self.codes, self.fault)
