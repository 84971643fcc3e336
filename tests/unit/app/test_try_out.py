"""/docs/try: every file comes from the service itself, unchanged, and its policy is no wider."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.http.headers import CONTENT_POLICY
from app.reference import try_out
from app.reference.try_out import PATH
from app.server import create_app
from app.services import Services
from cli.processes import ROOT

SWAGGER_UI = Path(try_out.__file__).parent / "swagger_ui"

#: Each file of the folder, as its README lists it.
SUMS = re.findall(
    r"(?m)^\| `([0-9a-f]{64})` \| `(.+)` \|$", (SWAGGER_UI / "README.md").read_text("utf-8")
)


@pytest.fixture
def client(make_services: Callable[..., Services]) -> FlaskClient:
    return create_app(make_services()).test_client()


class Links(HTMLParser):
    """What a page loads or leads to, and the scripts and styles that it holds itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.inline: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        for name, value in attrs:
            if name in ("src", "href"):
                self.found[value or ""] = tag
            if name == "style" or name.startswith("on"):
                self.inline.append(name)

    def handle_data(self, data: str) -> None:
        if self._tag in ("script", "style") and data.strip():
            self.inline.append(data)


def test_the_page_loads_files_of_this_service_alone(client: FlaskClient) -> None:
    page = client.get(PATH)
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    links = Links(page.text)
    assert links.inline == []
    loaded = {link for link, tag in links.found.items() if tag != "a"} - {"data:,"}
    assert len(loaded) == 3
    for link in loaded:
        assert link.startswith(f"{PATH}/")
        assert client.get(link).status_code == 200
    assert client.get("/docs").status_code == 200
    assert "/docs" in links.found


def test_a_reader_without_javascript_is_sent_to_the_reference(client: FlaskClient) -> None:
    assert re.search(r"<noscript>.+JavaScript.+</noscript>", client.get(PATH).text)


def test_the_policy_of_the_page_allows_its_own_files_and_calls_of_this_service(
    client: FlaskClient,
) -> None:
    policy = client.get(PATH).headers["Content-Security-Policy"]
    allowed = policy.removeprefix(CONTENT_POLICY).strip("; ").split("; ")
    assert sorted(allowed) == [
        "connect-src 'self'",
        "img-src data: blob:",
        "script-src 'self'",
        "style-src 'self'",
    ]


def test_what_is_shown_comes_from_this_service_and_no_validator_is_asked(
    client: FlaskClient,
) -> None:
    script = client.get(f"{PATH}/start.js").text
    assert 'url: "/openapi.json"' in script
    assert "validatorUrl: null" in script
    assert "//" not in re.sub(r"(?m)^//.*$", "", script)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("start.js", "text/javascript; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
    ],
)
def test_a_file_is_sent_once_as_what_it_is(client: FlaskClient, name: str, kind: str) -> None:
    first = client.get(f"{PATH}/{name}")
    assert (first.status_code, first.content_type) == (200, kind)
    assert first.headers["Cache-Control"] == "no-cache"
    assert first.headers["Content-Security-Policy"] == CONTENT_POLICY
    again = client.get(f"{PATH}/{name}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("name", ["README.md", "swagger-ui-bundle.js.map", "../page.py", "x"])
def test_no_other_file_is_sent(client: FlaskClient, name: str) -> None:
    assert client.get(f"{PATH}/{name}").status_code == 404


@pytest.mark.parametrize(("sum_of_it", "name"), SUMS, ids=[name for _, name in SUMS])
def test_a_file_of_swagger_ui_is_as_it_came(sum_of_it: str, name: str) -> None:
    assert hashlib.sha256((SWAGGER_UI / name).read_bytes()).hexdigest() == sum_of_it


def test_every_file_of_swagger_ui_is_listed_and_its_licence_is_among_them() -> None:
    names = {path.name for path in SWAGGER_UI.iterdir()}
    assert names == {name for _, name in SUMS} | {"README.md"}
    assert "Apache License" in (SWAGGER_UI / "LICENSE").read_text("utf-8")
    assert {"NOTICE", "swagger-ui-bundle.js.LICENSE.txt"} <= names


def test_the_package_has_every_file_that_is_served() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["app"]
    packed = {path for pattern in patterns for path in (ROOT / "app").glob(pattern)}
    served = [ROOT / "app" / place for place, _ in try_out._FILES.values()]
    assert {*served, ROOT / "app/templates/try.html", SWAGGER_UI / "LICENSE"} <= packed
