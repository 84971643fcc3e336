"""Stand-ins for what the API works with: catalogues, pictures, and how answers are read."""

from __future__ import annotations

import base64
import io
import json
from types import SimpleNamespace
from typing import Any

from PIL import Image
from werkzeug.test import TestResponse

from catalog.database.connection import now
from catalog.rows.collections import CollectionRow
from tests.answer_details import has_details

SYSTEM_FIELDS = ["code", "charge", "remainTimes", "remainSeconds", "msg"]


class FailingCatalog:
    """A catalogue whose every call raises the same fault."""

    def __init__(self, fault: BaseException) -> None:
        self._fault = fault

    def __getattr__(self, name: str) -> FailingCatalog:
        return self

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        raise self._fault


def catalog_with_collection() -> Any:
    """Return a catalogue in which every user has every collection, and that knows no task."""
    return SimpleNamespace(
        collections=SimpleNamespace(
            find=lambda user, name: CollectionRow(
                user=user, name=name, generation="g1", created_at=now()
            )
        ),
        tasks=SimpleNamespace(find={}.get),
    )


def image_file(form: str = "JPEG", width: int = 201, height: int = 201) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(file, form)
    return file.getvalue()


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def strictly(data: bytes) -> Any:
    """Read JSON as the standard has it, which knows neither NaN nor Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(data.decode("utf-8"), parse_constant=refuse)


def envelope(response: TestResponse) -> dict[str, Any]:
    """Return the answer, which must be the contract's object and carry a request id."""
    assert response.content_type == "application/json; charset=utf-8"
    assert response.headers["X-Request-Id"]
    body: dict[str, Any] = strictly(response.data)
    assert list(body) in (
        [*SYSTEM_FIELDS, "detail", "requestId"],
        [*SYSTEM_FIELDS, "result", "requestId"],
    )
    assert ("result" in body) == (body["code"] == "10000")
    assert has_details(body), body
    assert b"Traceback" not in response.data
    return body


def business_code(response: TestResponse) -> int:
    body = envelope(response)
    assert body["code"] == "10000", body
    code: int = body["result"]["code"]
    return code


def assert_busy(response: TestResponse) -> None:
    body = envelope(response)
    assert (body["code"], response.status_code) == ("10020", 503)
    assert int(response.headers["Retry-After"]) > 0
