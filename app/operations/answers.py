"""What the models of all answers share; those of an operation are in its module.

The models are for the reference, and for tests to compare answers with. Handlers return plain
dictionaries; no model runs while a call is answered.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Moment = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        json_schema_extra={"format": "date-time"},
        description="ISO 8601 in UTC.",
    ),
]
NextCursor = Annotated[
    str | None, Field(description="The cursor of the next page, null at the end.")
]
Count = Annotated[int, Field(ge=0)]
AsSent = Annotated[Any, Field(description="As it was sent, null where it was not.")]
Message = Annotated[str, Field(description="The message of a code.")]
Detail = Annotated[
    str, Field(min_length=1, description="A plain sentence: what is wrong, and what would do.")
]


class AnswerModel(BaseModel):
    """A part of an answer: these fields, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class SystemFields(AnswerModel):
    """The fields of every answer."""

    code: str = Field(description="The system code; 10000: the call was handled, see result.")
    charge: Literal[False]
    remain_times: int = Field(
        alias="remainTimes", description="What is left of the day's quota, -1 where there is none."
    )
    remain_seconds: Literal[-1] = Field(alias="remainSeconds")
    msg: str = Field(description="The meaning of the system code.")
    request_id: str = Field(alias="requestId", description="As in the header X-Request-Id.")


class NotServed(SystemFields):
    """The answer to a call that was not handled."""

    detail: Detail


class Refusal(AnswerModel):
    """The result of an operation that was refused as a whole."""

    code: int
    message: Message
    detail: Detail


class Success(AnswerModel):
    """The result of an operation that was done."""

    code: Literal[0]
    message: Literal["SUCCESS"]
