"""The OpenAPI document of the API, made from the declarations that also validate and route."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from app.http.details import HTTP_SENTENCES, detail_of
from app.http.envelope import RETRY_AFTER_SECONDS, SystemCode
from app.http.fields import described_by
from app.operations.answers import NotServed
from app.operations.base import IDEMPOTENCY_HEADER, KEY_CHARACTERS, Operation
from app.operations.examples import REQUEST_ID
from app.reference.answer_models import HTTP_FAULT_ANSWER, answer_name, answer_of, fault_of
from app.reference.other_paths import MODELS, other_paths
from config.settings import Settings
from config.version import VERSION
from contract import errors
from contract.errors import ContractError

Schema = dict[str, Any]

#: Answers that every operation may have: HTTP status, error, when.
HTTP_FAULTS: tuple[tuple[int, type[ContractError], str], ...] = (
    (400, errors.InvalidParameterJson, "The body is not a JSON object, or one too large or deep."),
    (404, errors.InvalidParameterJson, "There is no such path."),
    (405, errors.InvalidParameterJson, "The path takes another method; see the header Allow."),
    (413, errors.ImageSizeExceedLimit, "The body is over the limit."),
    (
        415,
        errors.InvalidParameterJson,
        "The body is of another type than JSON, or packed (Content-Encoding).",
    ),
    (500, errors.InternalServerError, "A fault of ours that has no code of its own."),
)

_INTRODUCTION = """\
Product pictures go in, and later a picture finds the product that it shows.

Every operation is a POST of a JSON object, in UTF-8. Every answer is one JSON object, the
envelope: its code is the system code, and where that is 10000, result.code is the business
code, 0 for success. The HTTP status is 200 whenever the system code is 10000, but for the few
faults that are listed with each operation. Every answer has the header X-Request-Id, which the
logs carry too. An error of one item of a list stands in failed_list and never fails the others.
Each refusal and each failed item has a detail, a sentence that says what is wrong.
Each of the older operations has two paths; both do the same. Kept pictures and health are no
operations: they answer a GET with what they are.

As long as no key was made, programs of the same machine are served without one. From the first key
on every operation wants a bearer key or a signature. A refused call is answered 401 or 403 and has
no result."""

#: The operations in the order in which people need them; the others follow.
_FIRST = ("create_product", "add_image", "task_status", "product_search")

_OPERATIONS, _OLD_PATHS = "operations", "paths of old clients"
_TAGS = (
    (_OPERATIONS, "What the service does."),
    ("pictures", "What is kept of the images."),
    ("health", "For load balancers and alarms."),
    (_OLD_PATHS, "The same operations on the paths that older clients call."),
)

_JSON = "application/json"
_IDEMPOTENCY_KEY = {
    "name": IDEMPOTENCY_HEADER,
    "in": "header",
    "required": False,
    "description": "Any text of the client's own, kept for a day: a call with the same key and "
    "body is answered the same, and takes nothing again. Another body: 5001. While the first "
    "call is under way: 10020.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS},
}
_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The api_key that `snapsku users add` printed.",
    },
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": """\
`JDCLOUD2-HMAC-SHA256 Credential={access_key}/{YYYYMMDD}/{region}/{service}/jdcloud2_request,
SignedHeaders={names joined by ;}, Signature={hex}`, or the same with JDCLOUD3 and jdcloud3_request.
The header x-jdcloud-date is YYYYMMDDTHHMMSSZ in UTC, at most five minutes off. The header
x-jdcloud-nonce is good once; where it is not signed, the signature is.

- canonical request: the lines method, URI-encoded path, sorted and URI-encoded query,
  `name:trimmed value` of each signed header in order of the names in lower case, an empty line,
  the signed names joined by `;`, and the hex SHA-256 of the body
- string to sign: the lines algorithm, x-jdcloud-date, date/region/service/jdcloud2_request, and
  the hex SHA-256 of the canonical request
- signing key: HMAC(HMAC(HMAC(HMAC("JDCLOUD2" + secret_key, date), region), service),
  "jdcloud2_request"), all HMAC-SHA256 on raw bytes
- Signature: the hex HMAC-SHA256 of the string to sign""",
    },
}
_REQUEST_ID = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}


class _Untitled(GenerateJsonSchema):
    """JSON schemas without a title for each field that only repeats its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Return False."""
        return False

    def default_schema(self, schema: Any) -> Schema:
        """Return the schema without a default that is empty: an optional field says enough.

        Of a member with a default, some generators say that it is never absent.
        """
        found = super().default_schema(schema)
        if found.get("default", ...) in (None, [], {}):
            del found["default"]
        return found


def document(operations: Sequence[Operation], settings: Settings) -> Schema:
    """Return the OpenAPI 3.1 document of these operations under these settings."""
    operations = in_order(operations)
    schemas = _schemas(operations, settings)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "snapsku",
            "version": VERSION,
            "summary": "Self-hosted product-image search",
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": meaning} for name, meaning in _TAGS],
        "paths": {
            **{o.paths[0]: {"post": _operation(o, is_old=False)} for o in operations},
            **other_paths(schemas, _REQUEST_ID),
            **{p: {"post": _operation(o, is_old=True)} for o in operations for p in o.paths[1:]},
        },
        "security": [{"bearer": []}, {"signature": []}],
        "components": {
            "securitySchemes": _SECURITY,
            "schemas": schemas,
            "requestBodies": {o.name: _request_body(o) for o in operations},
            "responses": {
                **{o.name: _answered(o, settings) for o in operations},
                **{
                    f"http_{status}": _http_fault(error, when, _http_detail(status, settings))
                    for status, error, when in HTTP_FAULTS
                },
                **{f"http_{status}": _not_served(status) for status in _statuses_not_served()},
            },
            "headers": {
                "X-Request-Id": {
                    "description": "The id of this call, as the logs carry it.",
                    "required": True,
                    "schema": {"type": "string"},
                },
                "Retry-After": {
                    "description": "Seconds after which to try again.",
                    "required": True,
                    "schema": {"type": "integer", "minimum": 1},
                    "example": RETRY_AFTER_SECONDS,
                },
            },
        },
    }


def in_order(operations: Iterable[Operation]) -> list[Operation]:
    """Return the operations in the order in which people need them."""
    others = len(_FIRST)
    turns = {name: turn for turn, name in enumerate(_FIRST)}
    return sorted(operations, key=lambda operation: turns.get(operation.name, others))


def _schemas(operations: Sequence[Operation], settings: Settings) -> Schema:
    faults = fault_of(tuple(dict.fromkeys(error for _, error, _ in HTTP_FAULTS)))
    models: list[type[BaseModel]] = [faults, NotServed, *MODELS]
    models += [model for o in operations for model in (o.request, answer_of(o))]
    with described_by(settings):
        _, found = models_json_schema(
            [(model, "validation") for model in dict.fromkeys(models)],
            ref_template="#/components/schemas/{model}",
            schema_generator=_Untitled,
        )
    schemas: Schema = found["$defs"]
    return schemas


def _operation(operation: Operation, *, is_old: bool) -> Schema:
    statuses = [status for status, *_ in HTTP_FAULTS] + _statuses_not_served()
    return {
        "operationId": f"{operation.name}_of_old_clients" if is_old else operation.name,
        "summary": _summary(operation) + (" (path of old clients)" if is_old else ""),
        "description": _description(operation),
        "tags": [_OLD_PATHS if is_old else _OPERATIONS],
        **({"parameters": [_IDEMPOTENCY_KEY]} if operation.takes_key else {}),
        "requestBody": {"$ref": f"#/components/requestBodies/{operation.name}"},
        "responses": {
            "200": {"$ref": f"#/components/responses/{operation.name}"},
            **{str(s): {"$ref": f"#/components/responses/http_{s}"} for s in sorted(statuses)},
        },
        "x-codes": _told(operation.all_codes),
        "x-item-codes": _told(operation.item_codes),
    }


def _summary(operation: Operation) -> str:
    return (inspect.getdoc(operation.handler) or operation.name).partition("\n")[0].rstrip(".")


def _description(operation: Operation) -> str:
    text = (
        "Answers as a whole, besides 0 SUCCESS, and 3020 where the account of a good key is gone "
        f"or malformed:\n\n{_as_list(operation.all_codes)}"
    )
    if operation.item_codes:
        text += f"\n\nIn the messages of failed_list:\n\n{_as_list(operation.item_codes)}"
    return text


def _as_list(codes: Iterable[type[ContractError]]) -> str:
    return "\n".join(
        f"- {'' if told['code'] is None else told['code']} {told['message']}: {told['meaning']}"
        for told in _told(codes)
    )


def _told(codes: Iterable[type[ContractError]]) -> list[Schema]:
    return [
        {"code": error.code, "message": error.message, "meaning": inspect.getdoc(error)}
        for error in dict.fromkeys(codes)
    ]


def _request_body(operation: Operation) -> Schema:
    return {
        "required": True,
        "content": {
            _JSON: {
                "schema": _ref(operation.request.__name__),
                "example": operation.example.request,
            }
        },
    }


def _answered(operation: Operation, settings: Settings) -> Schema:
    first = operation.codes[0]
    return {
        "description": "The call was handled: done, or refused with a business code.",
        "headers": _REQUEST_ID,
        "content": {
            _JSON: {
                "schema": _ref(answer_name(operation.name)),
                "examples": {
                    "done": {"value": _envelope(SystemCode.HANDLED, operation.example.result)},
                    "refused": {
                        "value": _envelope(
                            SystemCode.HANDLED, _refused(first, detail_of(first, settings))
                        )
                    },
                },
            }
        },
    }


def _http_detail(status: int, settings: Settings) -> str:
    told = HTTP_SENTENCES.get(status, errors.InternalServerError.sentence)
    return told.format(allowed="POST", body_bytes=settings.body_bytes)


def _http_fault(error: type[ContractError], meaning: str, detail: str) -> Schema:
    return {
        "description": f"{meaning} result.code {error.code}, {error.message}.",
        "headers": _REQUEST_ID,
        "content": {
            _JSON: {
                "schema": _ref(HTTP_FAULT_ANSWER),
                "example": _envelope(SystemCode.HANDLED, _refused(error, detail)),
            }
        },
    }


def _statuses_not_served() -> list[int]:
    return sorted({code.status for code in SystemCode} - {SystemCode.HANDLED.status})


def _not_served(status: int) -> Schema:
    codes = [code for code in SystemCode if code.status == status]
    waits = status in (429, 503)
    return {
        "description": "Not handled: " + ", ".join(f"{c.code} {c.meaning}" for c in codes) + ".",
        "headers": _REQUEST_ID
        | ({"Retry-After": {"$ref": "#/components/headers/Retry-After"}} if waits else {}),
        "content": {
            _JSON: {
                "schema": _ref(NotServed.__name__),
                "examples": {code.code: {"value": _envelope(code)} for code in codes},
            }
        },
    }


def _refused(error: type[ContractError], detail: str) -> Schema:
    return {"code": error.code, "message": error.message, "detail": detail}


def _envelope(code: SystemCode, result: Schema | None = None) -> Schema:
    system = {
        "code": code.code,
        "charge": False,
        "remainTimes": -1,
        "remainSeconds": -1,
        "msg": code.meaning,
    }
    told = {"detail": code.sentence} if result is None else {"result": result}
    return {**system, **told, "requestId": REQUEST_ID}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
