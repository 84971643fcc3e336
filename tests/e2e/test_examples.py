"""What the reference and the README show is sent, and answers as they say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from app.operations import examples
from cli.processes import ROOT
from tests.e2e.client import Api, as_base64
from tests.e2e.clients.example_calls import ORDER
from tests.e2e.stack import Stack
from tools.demo.manifest import SAMPLES

#: Fields whose values are another at each call: only their types are compared.
VARYING = {"similarity", "cosine", "inliers", "created_at", "finished_at", "task_id", "requestId"}

#: A command of the README: the operation, what stands between its quotes or in its heredoc, and
#: the line that it prints.
COMMAND = re.compile(
    r"^\$ curl -s http://127\.0\.0\.1:8000/v1/(?P<operation>\w+) [^\n]*?"
    r"(?:-d '(?P<quoted>.*?)'|-d @- <<END\n(?P<heredoc>.*?)\nEND)\n(?P<answer>\{.*?\})$",
    re.DOTALL | re.MULTILINE,
)


@pytest.fixture(scope="module")
def told(stack: Stack) -> dict[str, Any]:
    """The document as the service gives it."""
    response = requests.get(f"{stack.base_url}/openapi.json", timeout=10)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    document: dict[str, Any] = response.json()
    return document


def replaced(value: Any, words: dict[str, str]) -> Any:
    """Return an example in which these words stand for others."""
    if isinstance(value, dict):
        return {name: replaced(one, words) for name, one in value.items()}
    if isinstance(value, list):
        return [replaced(one, words) for one in value]
    return words.get(value, value) if isinstance(value, str) else value


def assert_alike(answered: Any, shown: Any, where: str = "result") -> None:
    """Compare an answer with its example: everything but the values that vary."""
    assert type(answered) is type(shown), where
    if isinstance(shown, dict):
        assert list(answered) == list(shown), where
        for name, value in shown.items():
            if name in VARYING:
                assert type(answered[name]) is type(value), f"{where}.{name}"
            else:
                assert_alike(answered[name], value, f"{where}.{name}")
    elif isinstance(shown, list):
        assert len(answered) == len(shown), where
        for number, (one, other) in enumerate(zip(answered, shown, strict=True)):
            assert_alike(one, other, f"{where}[{number}]")
    else:
        assert answered == shown, where


def valid_against(told: dict[str, Any], schema: dict[str, Any], value: Any) -> Iterator[str]:
    """Return what a schema of the document finds wrong with a value."""
    found = Draft202012Validator({**schema, "components": told["components"]}).iter_errors(value)
    return (f"{error.json_path}: {error.message}" for error in found)


def without_detail(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return a refusal without its id, and its sentence, which may say more than an example."""
    result = dict(envelope["result"])
    assert result.pop("detail")
    assert envelope["requestId"]
    return {**envelope, "requestId": "", "result": result}


def _content(told: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = told["components"][kind][name]["content"]["application/json"]
    return content


def test_the_document_is_openapi(told: dict[str, Any]) -> None:
    validate(told)


def test_every_example_is_answered_as_it_says(
    api: Api, collection: str, told: dict[str, Any]
) -> None:
    assert sorted(ORDER) == sorted(told["components"]["requestBodies"])
    words = {examples.COLLECTION: collection}
    for name in ORDER:
        request = replaced(_content(told, "requestBodies", name)["example"], words)
        answer = _content(told, "responses", name)
        if name == "task_status":
            api.finish(request["task_id"])
        response = api.post(f"/v1/{name}", request)
        envelope = response.json()
        assert response.status_code == 200
        assert list(valid_against(told, answer["schema"], envelope)) == [], name
        result = dict(envelope["result"])
        shown = replaced(answer["examples"]["done"]["value"]["result"], words)
        if name == "add_image":
            words[examples.TASK_ID] = result["task_id"]
        if name == "list_collections":
            result["collection_list"] = [
                row for row in result["collection_list"] if row["collection_name"] == collection
            ]
        assert_alike(result, shown, name)


def test_what_the_document_says_of_refusals_is_what_comes(api: Api, told: dict[str, Any]) -> None:
    posts = {path: item for path, item in told["paths"].items() if "post" in item}
    for path, item in posts.items():
        name = item["post"]["requestBody"]["$ref"].rpartition("/")[2]
        response = api.post(path, {"collection_name": 7, "limit": 0})
        answer = _content(told, "responses", name)
        assert list(valid_against(told, answer["schema"], response.json())) == [], path
        example = answer["examples"]["refused"]["value"]
        assert without_detail(response.json()) == without_detail(example), path


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status"),
    [
        ("POST", "/v1/add_image", b"{", "application/json", 400),
        ("POST", "/v1/nothing", b"{}", "application/json", 404),
        ("GET", "/v1/add_image", None, None, 405),
        ("POST", "/v1/add_image", b" " * (8 * 2**20 + 1), "application/json", 413),
        ("POST", "/v1/add_image", b"{}", "text/plain", 415),
    ],
)
def test_what_the_document_says_of_http_faults_is_what_comes(
    stack: Stack,
    told: dict[str, Any],
    method: str,
    path: str,
    body: bytes | None,
    content_type: str | None,
    status: int,
) -> None:
    response = requests.request(
        method,
        f"{stack.base_url}{path}",
        data=body,
        headers={"Content-Type": content_type} if content_type else {},
        timeout=30,
    )
    assert response.status_code == status
    example = _content(told, "responses", f"http_{status}")["example"]
    assert without_detail(response.json()) == without_detail(example)
    assert response.headers["X-Request-Id"]


def test_the_page_is_served(stack: Stack, told: dict[str, Any]) -> None:
    response = requests.get(f"{stack.base_url}/docs", timeout=10)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert all(path in response.text for path in told["paths"])


def test_the_session_of_the_readme_runs_as_it_is_shown(api: Api, collection: str) -> None:
    (sample,) = (SAMPLES / "products").glob("hiking-boot-1.*")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "picture=$(base64 -w0 samples/products/hiking-boot-1.*)" in readme
    commands = list(COMMAND.finditer(readme))
    assert len(commands) == readme.count("$ curl -s http://127.0.0.1:8000/v1/")
    assert [command["operation"] for command in commands] == [
        *("create_product", "add_image", "task_status", "product_search")
    ]
    words: dict[str, str] = {}
    for command in commands:
        text = (command["quoted"] or command["heredoc"]).replace("$picture", as_base64(sample))
        request, shown = json.loads(text), json.loads(command["answer"])
        if "collection_name" in request:
            words[request["collection_name"]] = collection
        request, shown = replaced(request, words), replaced(shown, words)
        if command["operation"] == "task_status":
            api.finish(request["task_id"])
        answer = api.post(f"/v1/{command['operation']}", request).json()
        if command["operation"] == "add_image":
            words[shown["result"]["task_id"]] = answer["result"]["task_id"]
        assert_alike(answer, shown, command["operation"])
