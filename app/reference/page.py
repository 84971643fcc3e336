"""/openapi.json, and /docs: the same as one page of HTML, without scripts or other files.

The page that sends calls is `app.reference.try_out`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from flask import Flask, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from app.http.headers import CONTENT_POLICY
from app.operations.base import Operation
from app.reference.answer_models import HTTP_FAULT_ANSWER, result_name
from app.reference.openapi import Schema, document
from app.reference.try_out import PATH, add_try_out
from config.settings import Settings

_STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)


def content_policy(page: bytes) -> str:
    """Return a Content-Security-Policy that allows the page its own style, and nothing else."""
    hashes = (b64encode(hashlib.sha256(style).digest()).decode() for style in _STYLE.findall(page))
    styles = " ".join(f"'sha256-{one}'" for one in hashes)
    return f"{CONTENT_POLICY}; style-src {styles}"


def add_reference(flask_app: Flask, operations: Sequence[Operation], settings: Settings) -> None:
    """Add their paths; the content is made at the first call."""
    making = threading.Lock()

    @cache
    def made() -> tuple[bytes, bytes]:
        told = document(operations, settings)
        return json.dumps(told, ensure_ascii=False).encode(), render(told).encode()

    def answers() -> tuple[bytes, bytes]:
        with making:
            return made()

    @flask_app.get("/openapi.json")
    def openapi() -> Response:
        return Response(answers()[0], content_type="application/json; charset=utf-8")

    @flask_app.get("/docs")
    def docs() -> Response:
        page = Response(answers()[1], content_type="text/html; charset=utf-8")
        page.headers["Content-Security-Policy"] = content_policy(answers()[1])
        return page

    add_try_out(flask_app)


def render(told: Schema) -> str:
    """Return the page of an OpenAPI document that `app.reference.openapi.document` made."""
    environment = Environment(
        loader=PackageLoader("app"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["as_json"] = lambda value: json.dumps(value, ensure_ascii=False, indent=2)
    return environment.get_template("reference.html").render(
        info=told["info"],
        try_out=PATH,
        operations=[_shown(told, path) for path in told["paths"] if _is_operation(told, path)],
        others=[_other(told, path) for path, item in told["paths"].items() if "get" in item],
        envelope=list(fields(told, {"$ref": f"#/components/schemas/{HTTP_FAULT_ANSWER}"})),
        responses={
            name.removeprefix("http_"): response
            for name, response in sorted(told["components"]["responses"].items())
            if name.startswith("http_")
        },
    )


@dataclass(frozen=True)
class ShownField:
    """A field of a request or an answer, as a row of a table."""

    path: str
    kind: str
    is_required: bool
    note: str


def _is_operation(told: Schema, path: str) -> bool:
    return path.startswith("/v1/") and "post" in told["paths"][path]


def _shown(told: Schema, path: str) -> dict[str, Any]:
    operation = told["paths"][path]["post"]
    name = operation["operationId"]
    body = told["components"]["requestBodies"][name]["content"]["application/json"]
    answer = told["components"]["responses"][name]["content"]["application/json"]
    return {
        "name": name,
        "summary": operation["summary"],
        "tag": operation["tags"][0],
        "paths": [
            other
            for other, item in told["paths"].items()
            if item.get("post", {}).get("requestBody") == operation["requestBody"]
        ],
        "request": list(fields(told, body["schema"])),
        "answer": list(fields(told, {"$ref": f"#/components/schemas/{result_name(name)}"})),
        "codes": operation["x-codes"],
        "item_codes": operation["x-item-codes"],
        "sent": body["example"],
        "answered": answer["examples"]["done"]["value"]["result"],
    }


def _other(told: Schema, path: str) -> dict[str, Any]:
    get = told["paths"][path]["get"]
    asked = get.get("parameters", [])
    query = {
        "properties": {one["name"]: one["schema"] for one in asked},
        "required": [one["name"] for one in asked if one["required"]],
    }
    shared = told["components"]["responses"]
    return {
        "path": path,
        "summary": get["summary"],
        "description": get["description"],
        "parameters": list(fields(told, query)),
        "answers": {
            status: (shared[answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer)[
                "description"
            ]
            for status, answer in get["responses"].items()
        },
    }


def fields(told: Schema, schema: Schema, prefix: str = "") -> Iterator[ShownField]:
    """Yield the fields of an object's schema, those of nested objects after their parent."""
    schema = _resolved(told, schema)
    for name, raw in schema.get("properties", {}).items():
        options = [_resolved(told, option) for option in raw.get("anyOf", [raw])]
        told_type = {**raw, **next(o for o in options if o.get("type") != "null")}
        path = f"{prefix}{name}"
        items = _resolved(told, told_type.get("items", {}))
        may_be_null = any(option.get("type") == "null" for option in options)
        yield ShownField(
            path=path,
            kind=_kind(told_type, items) + (" or null" if may_be_null else ""),
            is_required=name in schema.get("required", ()),
            note=" ".join(_notes({**told_type, **_own(raw)})),
        )
        yield from fields(told, told_type, f"{path}.")
        yield from fields(told, items, f"{path}[].")


def _resolved(told: Schema, schema: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    found: Schema = told["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _own(raw: Schema) -> Schema:
    return {name: value for name, value in raw.items() if name in ("description", "default")}


def _kind(schema: Schema, items: Schema) -> str:
    if schema.get("type") == "array":
        return f"list of {items.get('type', 'any')}s"
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    return str(schema.get("type", "any"))


def _notes(schema: Schema) -> Iterator[str]:
    """Yield the limits of a field in words."""
    if "description" in schema:
        yield schema["description"]
    if "enum" in schema:
        yield f"One of {', '.join(map(str, schema['enum']))}."
    for least, most, of in (
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "items"),
        ("minimum", "maximum", ""),
    ):
        if least in schema and most in schema:
            yield f"{schema[least]} to {schema[most]} {of}".rstrip() + "."
        elif most in schema:
            yield f"Up to {schema[most]} {of}".rstrip() + "."
        elif least in schema:
            yield f"At least {schema[least]} {of}".rstrip() + "."
    if "default" in schema:
        yield f"{json.dumps(schema['default'])} if absent."
