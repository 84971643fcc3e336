"""What a browser is told with every answer."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from app.http.headers import HEADERS
from app.reference.page import content_policy
from app.server import create_app
from app.services import Services

MakeServices = Callable[..., Services]

PATHS = (
    "/v1/task_status",
    "/v1/picture",
    "/healthz",
    "/openapi.json",
    "/docs",
    "/docs/try",
    "/nowhere",
)


@pytest.fixture
def client(make_services: MakeServices) -> FlaskClient:
    return create_app(make_services()).test_client()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PUT"])
def test_every_answer_has_every_header(client: FlaskClient, path: str, method: str) -> None:
    answer = client.open(path, method=method, headers={"Origin": "https://elsewhere.example"})
    for name, value in HEADERS.items():
        if name == "Content-Security-Policy":
            assert answer.headers[name].startswith(value)
        else:
            assert answer.headers[name] == value
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


def test_the_page_may_use_its_own_style_and_nothing_else(client: FlaskClient) -> None:
    page = client.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert policy.count("'sha256-") == page.text.count("<style>") == 1
    # What a hash does not cover: attributes.
    assert not re.search(r"""\s(style|on\w+)\s*=|<script|<link|<img|javascript:""", page.text)


def test_the_policy_follows_the_style() -> None:
    assert content_policy(b"<style>a</style>") != content_policy(b"<style>b</style>")
