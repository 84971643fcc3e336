"""What the document says of the paths that are no operations: health, and kept pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.operations.answers import AnswerModel
from app.operations.pictures import PictureRequest
from broker.reports.index_reports import IndexReport
from broker.reports.process_reports import ProcessReport
from broker.reports.queued_work import Waiting

Schema = dict[str, Any]


class Health(AnswerModel):
    """The process of the API that was asked answers."""

    status: Literal["ok"]


@dataclass(frozen=True)
class ReportedProcess(ProcessReport):
    """A process that reported lately."""

    age_seconds: float  #: of its report


class Readiness(AnswerModel):
    """How the parts of the service are; what Redis tells is absent while it is away."""

    stack: str = Field(description="Names the data directory of the API that answers.")
    warnings: list[str] = Field(default=[], description="What is repaired without help.")
    consumed_seconds_ago: dict[str, float | None] = Field(
        default={}, description="By queue, when it was last worked on; null: not for a day."
    )
    waiting: dict[str, Waiting] = Field(default={}, description="By queue, what waits in it.")
    index: IndexReport | None = Field(default=None, description="What its owner reports.")
    index_standbys: list[str] = Field(default=[], description="Who waits to own the index.")
    processes: list[ReportedProcess] = Field(default=[], description="Who reported lately.")


class Ready(Readiness):
    """The service works as a whole."""

    status: Literal["ready"]


class NotReady(Readiness):
    """A part of the service does not work."""

    status: Literal["not ready"]
    faults: list[str] = Field(description="What is wrong, in a sentence each.")


#: The models whose schemas the paths refer to, or are made of.
MODELS: tuple[type[BaseModel], ...] = (Health, Ready, NotReady, PictureRequest)

_JPEG = {
    "description": "The small JPEG that is kept of the image.",
    "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
}


def other_paths(schemas: Schema, headers: Schema) -> Schema:
    """Return the paths, and take out of `schemas` what is told as parameters.

    `headers` are those of every answer.
    """
    query = schemas.pop(PictureRequest.__name__)
    parameters = [
        {"name": name, "in": "query", "required": True, "schema": field}
        for name, field in query["properties"].items()
    ]
    refusals = (401, 403, 404, 500, 503)
    return {
        "/v1/picture": {
            "get": {
                "operationId": "picture",
                "summary": "Return the small JPEG that is kept of an image",
                "description": "404 where there is no such image, or no picture is kept of it "
                "(setting `keep_pictures`). Counts against no quota.",
                "tags": ["pictures"],
                "parameters": parameters,
                "responses": {
                    "200": {**_JPEG, "headers": headers},
                    **{str(s): {"$ref": f"#/components/responses/http_{s}"} for s in refusals},
                },
            }
        },
        "/healthz": {
            "get": _of_health("healthz", "Tell that this process answers", headers, {200: Health})
        },
        "/readyz": {
            "get": _of_health(
                "readyz", "Tell whether the service works", headers, {200: Ready, 503: NotReady}
            )
        },
    }


def _of_health(
    name: str, summary: str, headers: Schema, answers: dict[int, type[BaseModel]]
) -> Schema:
    return {
        "operationId": name,
        "summary": summary,
        "description": "For everyone: no key is asked for.",
        "tags": ["health"],
        "security": [],
        "responses": {
            str(status): {
                "description": model.__doc__,
                "headers": headers,
                "content": {
                    "application/json": {
                        "schema": {"$ref": f"#/components/schemas/{model.__name__}"}
                    }
                },
            }
            for status, model in answers.items()
        },
    }
