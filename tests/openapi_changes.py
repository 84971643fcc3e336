"""What a change of /openapi.json breaks for the clients of the last release.

`tests/releases/openapi.json` is the document of that release under default settings;
`python -m tests.openapi_changes` writes it anew, which is a step of a release.

Two rules cover most: a request that was good must stay good, and an answer must be one that clients
know. So a schema of requests may only become wider, and one of answers only narrower. Besides:

- An answer may get further members: clients ignore those that they don't know.
- A refusal may get further codes: to a client, one that it does not know is a refusal too.
- Limits (lengths, numbers of items) count for requests alone.
- Names are part of what is generated: operationId, tag and schemas keep theirs.
- A request without an optional member means the same as before: no default changes.
- Each answer stays, of refusals too, with its headers.
- What the release marks as deprecated may go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Schema = dict[str, Any]

RELEASED = Path(__file__).parent / "releases" / "openapi.json"

#: Ends of the titles of schemas whose `code` and `message` may get further values.
REFUSALS = ("Refusal", "HttpFault")

#: Keywords that refuse more the lower they are, and the higher they are.
MOST = ("maxLength", "maxItems", "maximum", "exclusiveMaximum")
LEAST = ("minLength", "minItems", "minimum", "exclusiveMinimum")


def today() -> Schema:
    """Return the document of this program under default settings."""
    from app.reference.openapi import document
    from app.server import OPERATIONS
    from config.settings import Settings

    defaults = Settings.model_construct()
    found: Schema = json.loads(json.dumps(document(OPERATIONS, defaults)))
    return found


def breaks(old: Schema, new: Schema) -> list[str]:
    """Return a line for each change from `old` to `new` that breaks a client of `old`."""
    return list(dict.fromkeys(_breaks(old, new)))


def _breaks(old: Schema, new: Schema) -> Iterator[str]:
    for path, item in old["paths"].items():
        for method, operation in item.items():
            where = f"{method.upper()} {path}"
            other = new["paths"].get(path, {}).get(method)
            if other is not None:
                yield from _Sides(old, new).of_operation(where, operation, other)
                for kind, name in sorted(_named(operation, old)):
                    if name not in new["components"][kind]:
                        yield f"{name}: is gone from {kind}, or has another name"
            elif not operation.get("deprecated"):
                yield f"{where}: is gone"
    for name in old["components"]["securitySchemes"].keys() - new["components"]["securitySchemes"]:
        yield f"{name}: this way to log in is gone"


def _named(part: Any, document: Schema) -> set[tuple[str, str]]:
    """Return kind and name of the schemas that a part of a document refers to, near or far."""
    found: set[tuple[str, str]] = set()
    waiting = [part]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict) and isinstance(one.get("$ref"), str):
            _, _, kind, name = one["$ref"].split("/")
            if (kind, name) not in found:
                found.add((kind, name))
                waiting.append(document["components"][kind][name])
        elif isinstance(one, dict):
            waiting += one.values()
    return {(kind, name) for kind, name in found if kind == "schemas"}


@dataclass(frozen=True)
class _Sides:
    """The two documents, for the schemas that they refer to."""

    old: Schema
    new: Schema

    def of_operation(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        for name in ("operationId", "tags"):
            if old.get(name) != new.get(name):
                yield f"{where}: {name} is {new.get(name)}, was {old.get(name)}"
        ways: list[Schema] = {**self.old, **old}["security"]
        others: list[Schema] = {**self.new, **new}["security"]
        if others and (not ways or any(way not in others for way in ways)):
            yield f"{where}: a way to log in is gone"
        yield from self._of_parameters(where, old, new)
        old_body = resolved(old.get("requestBody"), self.old)
        new_body = resolved(new.get("requestBody"), self.new)
        if new_body.get("required") and not old_body.get("required"):
            yield f"{where} request: is required"
        yield from self._of_content(f"{where} request", old_body, new_body, is_request=True)
        for status, answer in old["responses"].items():
            place = f"{where} {status}"
            if status in new["responses"]:
                before = resolved(answer, self.old)
                after = resolved(new["responses"][status], self.new)
                yield from self._of_content(place, before, after, is_request=False)
                yield from self._of_headers(place, before, after)
            else:
                yield f"{place}: is gone"

    def _of_parameters(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        before, after = (
            {(one["in"], one["name"]): one for one in operation.get("parameters", [])}
            for operation in (old, new)
        )
        for key, told in before.items():
            place = f"{where} {key[0]} {key[1]}"
            if key not in after:
                if not told.get("deprecated"):
                    yield f"{place}: is gone"
                continue
            yield from self.lacks(place, after[key]["schema"], told["schema"], is_request=True)
        for key, told in after.items():
            if told["required"] and not before.get(key, {}).get("required"):
                yield f"{where} {key[0]} {key[1]}: is required"

    def _of_headers(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        for name, header in old.get("headers", {}).items():
            place = f"{where} header {name}"
            if name not in new.get("headers", {}):
                yield f"{place}: is gone"
                continue
            before, after = resolved(header, self.old), resolved(new["headers"][name], self.new)
            if before.get("required") and not after.get("required"):
                yield f"{place}: may be absent"
            yield from self.lacks(place, before["schema"], after["schema"], is_request=False)

    def _of_content(
        self, where: str, old: Schema, new: Schema, *, is_request: bool
    ) -> Iterator[str]:
        for kind, told in old.get("content", {}).items():
            if kind not in new.get("content", {}):
                yield f"{where}: no {kind}"
                continue
            wide, narrow = told["schema"], new["content"][kind]["schema"]
            if is_request:
                wide, narrow = narrow, wide
            yield from self.lacks(where, wide, narrow, is_request=is_request)

    def lacks(
        self, where: str, wide: Schema, narrow: Schema, *, is_request: bool, may_grow: bool = False
    ) -> Iterator[str]:
        """Yield why not all that `narrow` allows is good by `wide`.

        `wide` is of the new document for requests, and of the old one for answers.
        """
        if is_request:
            yield from _other_default(where, wide, narrow)
        widening, narrowing = (self.new, self.old) if is_request else (self.old, self.new)
        wider = [resolved(one, widening) for one in _options(wide)]
        for one in _options(narrow):
            option = resolved(one, narrowing)
            # Its counterpart, if one has its name; else any that takes it, or comes nearest.
            named = [other for other in wider if other.get("title", "") == option.get("title")]
            reasons = [
                list(self._lacks(where, other, option, is_request=is_request, may_grow=may_grow))
                for other in named or wider
            ]
            yield from min(reasons, key=len)

    def _lacks(
        self, where: str, wide: Schema, narrow: Schema, *, is_request: bool, may_grow: bool
    ) -> Iterator[str]:
        if unknown := _types(narrow) - _types(wide):
            yield f"{where}: {_verb(is_request)} {' or '.join(sorted(unknown))}"
            return
        if wide.get("format") != narrow.get("format"):
            yield f"{where}: another format"
        if (known := _values(wide)) is not None and not may_grow:
            # A list of values, for there is none of one that may be anything.
            unknown_values = [v for v in _values(narrow) or ["anything"] if v not in known]
            if unknown_values:
                yield f"{where}: {_verb(is_request)} {', '.join(map(str, unknown_values))}"
        if is_request:
            yield from _tightened(where, wide, narrow)
            yield from _other_default(where, wide, narrow)
        if "items" in wide:
            yield from self.lacks(
                f"{where}[]", wide["items"], narrow.get("items", {}), is_request=is_request
            )
        if isinstance(of_any_name := wide.get("additionalProperties"), dict):
            other = narrow.get("additionalProperties", {})
            yield from self.lacks(f"{where}.*", of_any_name, other, is_request=is_request)
        yield from self._lacking_members(where, wide, narrow, is_request=is_request)

    def _lacking_members(
        self, where: str, wide: Schema, narrow: Schema, *, is_request: bool
    ) -> Iterator[str]:
        old, new = (narrow, wide) if is_request else (wide, narrow)
        for name, told in old.get("properties", {}).items():
            place = f"{where}.{name}"
            if name not in new.get("properties", {}):
                if not told.get("deprecated"):
                    yield f"{place}: is gone"
                continue
            may_grow = old.get("title", "").endswith(REFUSALS) and name in ("code", "message")
            yield from self.lacks(
                place,
                wide["properties"][name],
                narrow["properties"][name],
                is_request=is_request,
                may_grow=may_grow,
            )
        for name in wide.get("required", []):
            if name not in narrow.get("required", []) and name in new.get("properties", {}):
                yield f"{where}.{name}: {'is required' if is_request else 'may be absent'}"


def resolved(part: Schema | None, document: Schema) -> Schema:
    """Return what a part refers to, or the part itself; an empty one for None."""
    if part is None or "$ref" not in part:
        return part or {}
    _, _, kind, name = part["$ref"].split("/")
    found: Schema = document["components"][kind][name]
    return found


def _options(schema: Schema) -> list[Schema]:
    found: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return found


def _types(schema: Schema) -> set[str]:
    found = schema.get("type")
    if found is None:
        every = {"string", "integer", "number", "boolean", "object", "array", "null"}
        return every if _values(schema) is None else set()
    types = {found} if isinstance(found, str) else set(found)
    return types | {"integer"} if "number" in types else types


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def _verb(is_request: bool) -> str:
    return "takes no" if is_request else "may be"


def _tightened(where: str, new: Schema, old: Schema) -> Iterator[str]:
    for limit in (*MOST, *LEAST):
        if limit not in new:
            continue
        before, after = old.get(limit), new[limit]
        if before is None or (after < before if limit in MOST else after > before):
            yield f"{where}: {limit} is {after}, was {before}"
    if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
        yield f"{where}: takes no further members"
    if new.get("pattern") not in (None, old.get("pattern")):
        yield f"{where}: another pattern"


def _other_default(where: str, new: Schema, old: Schema) -> Iterator[str]:
    if "default" in old and new.get("default", ...) != old["default"]:
        yield f"{where}: default is {new.get('default', 'gone')}, was {old['default']}"


def main() -> None:
    """Write the document of this program as that of the release."""
    text = json.dumps(today(), ensure_ascii=False, indent=1)
    RELEASED.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
