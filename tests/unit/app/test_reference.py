"""/openapi.json and /docs: what is sent, and that the page needs nothing and runs nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.reference.openapi import document
from app.reference.page import fields, render
from app.reference.try_out import PATH
from app.server import OPERATIONS, create_app
from app.services import Services
from config.settings import Settings

MakeServices = Callable[..., Services]
VOID = {"meta", "br", "hr", "link", "img", "input"}


class Page(HTMLParser):
    """The elements of a page, which must be nested well."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def client(make_services: MakeServices) -> FlaskClient:
    return create_app(make_services()).test_client()


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(document(OPERATIONS, Settings())))


def test_the_document_is_served_with_the_limits_of_this_service(
    make_services: MakeServices,
) -> None:
    services = make_services(name_characters=7)
    response = create_app(services).test_client().get("/openapi.json")
    assert response.status_code == 200
    assert response.content_type == "application/json; charset=utf-8"
    assert response.json == document(OPERATIONS, services.settings)
    assert (
        response.json["components"]["schemas"]["DeleteCollectionRequest"]["properties"][
            "collection_name"
        ]["maxLength"]
        == 7
    )


def test_the_page_is_html_that_may_load_and_run_nothing(client: FlaskClient) -> None:
    response = client.get("/docs")
    assert response.status_code == 200
    assert response.content_type == "text/html; charset=utf-8"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_reference_can_only_be_read(client: FlaskClient, path: str) -> None:
    assert client.post(path, json={}).status_code == 405


def test_the_page_names_nothing_from_elsewhere(page: Page) -> None:
    assert {tag for tag, _ in page.elements} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
    } == set()
    for _, attributes in page.elements:
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert re.match(r"[#/](?!/)", attributes.get("href") or "#")


def test_the_page_fits_a_phone_and_says_its_language(page: Page) -> None:
    viewports = [a["content"] for tag, a in page.elements if a.get("name") == "viewport"]
    assert viewports == ["width=device-width, initial-scale=1"]
    assert ("html", {"lang": "en"}) in page.elements


def test_the_page_has_every_operation_path_code_and_field(page: Page) -> None:
    text = "".join(page.words)
    anchors = {attributes.get("id") for _, attributes in page.elements}
    links = {a["href"] for tag, a in page.elements if tag == "a"}
    for operation in OPERATIONS:
        assert operation.name in anchors
        assert f"#{operation.name}" in links
        assert f"{PATH}#/operations/{operation.name}" in links
        assert all(path in text for path in operation.paths)
        for error in (*operation.all_codes, *operation.item_codes):
            assert error.message in page.words
        assert set(operation.request.model_fields) <= set(page.words)


def test_the_page_tells_of_pictures_and_health_too(page: Page) -> None:
    text = "".join(page.words)
    for path in ("/v1/picture", "/healthz", "/readyz"):
        assert f"GET {path}" in text
    assert "collection_name" in text.rpartition("GET /v1/picture")[2]


def test_what_comes_from_the_document_is_escaped() -> None:
    evil = "<script>alert('衣')</script>&"
    example = replace(OPERATIONS[0].example, request={"collection_name": evil})
    told = document((replace(OPERATIONS[0], example=example),), Settings(categories=(evil,)))
    found = Page(render(told))
    assert "script" not in [tag for tag, _ in found.elements]
    assert evil in "".join(found.words)


def rows(schema: dict[str, Any]) -> list[tuple[str, str, bool, str]]:
    told = {"components": {"schemas": {"Inner": {"properties": {"b": {"type": "integer"}}}}}}
    return [(f.path, f.kind, f.is_required, f.note) for f in fields(told, schema)]


def test_fields_are_told_with_their_path_type_and_limits() -> None:
    inner = {"$ref": "#/components/schemas/Inner"}
    assert rows(
        {
            "required": ["a"],
            "properties": {
                "a": {"type": "string", "minLength": 1, "maxLength": 9, "description": "A."},
                "n": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
                "l": {"type": "array", "items": inner, "maxItems": 3},
                "e": {"type": "string", "enum": ["x", "y"], "default": "x"},
                "c": {"const": 0},
                "z": {},
            },
        }
    ) == [
        ("a", "string", True, "A. 1 to 9 characters."),
        ("n", "integer or null", False, "At least 0."),
        ("l", "list of anys", False, "Up to 3 items."),
        ("l[].b", "integer", False, ""),
        ("e", "string", False, 'One of x, y. "x" if absent.'),
        ("c", "0", False, ""),
        ("z", "any", False, ""),
    ]
