"""The models of whole answers, made of the declarations of operations.

Each answer is one flat object with a name of its own, whose result is either the one of the
operation or a refusal; `result.code` tells which. Generators of clients make a class of each, and
can't merge an `allOf` that changes a member.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

from pydantic import Field, create_model

from app.operations.answers import Refusal, Success, SystemFields
from app.operations.base import Operation
from contract import errors
from contract.errors import ContractError

#: The name of the schema of an answer with another HTTP status than 200.
HTTP_FAULT_ANSWER = "HttpFaultAnswer"

#: Literal of values that are known only when the models are made; mypy takes constants alone.
_OneOf: Any = Literal


def answer_of(operation: Operation) -> type[SystemFields]:
    """Return the model of an answer of this operation that has the HTTP status 200."""
    codes = (*operation.all_codes, errors.InvalidUserId)
    return _answer(operation.name, operation.answer, operation.refusal, codes)


@cache
def _answer(
    name: str,
    done: type[Success],
    refused: type[Refusal],
    codes: tuple[type[ContractError], ...],
) -> type[SystemFields]:
    result = create_model(result_name(name), __base__=done, __doc__=done.__doc__)
    refusal = refusal_of(f"{_stem(name)}Refusal", refused, codes)
    return _handled(answer_name(name), f"An answer of {name}.", result | refusal)


@cache
def fault_of(errors_of_status: tuple[type[ContractError], ...]) -> type[SystemFields]:
    """Return the model of an answer whose HTTP status is that of one of these errors."""
    refusal = refusal_of("HttpFault", Refusal, errors_of_status)
    return _handled(HTTP_FAULT_ANSWER, "An answer with another HTTP status than 200.", refusal)


def refusal_of(
    name: str, base: type[Refusal], codes: Iterable[type[ContractError]]
) -> type[Refusal]:
    """Return the model of a refusal that may have these codes and no others."""
    codes = list(codes)
    names = {error.code: error.message for error in reversed(codes)}
    numbers = list(dict.fromkeys(error.code for error in codes))
    model: type[Refusal] = create_model(
        name,
        __base__=base,
        __doc__=base.__doc__,
        code=(
            _OneOf[tuple(numbers)],
            Field(
                description="The business code; further ones may come with any release.",
                # Generators name the members of an enumeration of numbers by it.
                json_schema_extra={"x-enum-varnames": [names[number] for number in numbers]},
            ),
        ),
        message=(
            _OneOf[tuple(dict.fromkeys(error.message for error in codes))],
            Field(description="The message of the code."),
        ),
    )
    return model


def _handled(name: str, meaning: str, result: Any) -> type[SystemFields]:
    code: Any = (Literal["10000"], Field(description="The system code: the call was handled."))
    return create_model(
        name,
        __base__=SystemFields,
        __doc__=meaning,
        code=code,
        result=(result, Field(description="What was done, or why it was refused.")),
    )


def answer_name(operation: str) -> str:
    """Return the name of the schema of a whole answer."""
    return f"{_stem(operation)}Answer"


def result_name(operation: str) -> str:
    """Return the name of the schema of a result that was done."""
    return f"{_stem(operation)}Result"


def _stem(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))
