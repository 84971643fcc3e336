"""Keys made by the command, and requests signed by the words of the contract, on a real stack."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from app.operations import examples
from cli.processes import ROOT
from identity.vault import KEY_FILE
from tests.e2e.clients.conftest import Users
from tests.e2e.clients.example_calls import (
    BY_NAME,
    ORDER,
    assert_old_calls_work,
    assert_refused,
    filled,
    finish,
    send,
)
from tests.e2e.clients.packages import PACKAGES
from tests.e2e.stack import Stack
from tests.request_signer import SignedBy, bearer


def signer(keys: dict[str, str]) -> SignedBy:
    return SignedBy(keys["access_key"], keys["secret_key"], datetime.now(UTC))


def signed_twice(stack: Stack, keys: dict[str, str], path: str, body: Any) -> dict[str, Any]:
    """Send a signed request twice; return the result of the first, the second is refused."""
    data = json.dumps(body, ensure_ascii=False).encode()
    headers = signer(keys)(path, data)
    first, second = (send(stack, path, data, headers) for _ in range(2))
    assert (first.status_code, first.json()["code"]) == (200, "10000"), first.text
    assert (second.status_code, second.json()["code"]) == (401, "10047"), second.text
    result: dict[str, Any] = first.json()["result"]
    return result


@pytest.mark.parametrize("way", ["v1", "jdai"])
def test_a_signed_request_works_once_in_every_operation_on_both_paths(
    closed_stack: Stack, keys: dict[str, str], way: str
) -> None:
    assert sorted(ORDER) == sorted(BY_NAME)
    words = {examples.COLLECTION: f"签名 {way}"}
    for name in ORDER:
        operation = BY_NAME[name]
        path = operation.paths[-1] if way == "jdai" else operation.paths[0]
        if name == "task_status":
            finish(closed_stack, keys, words[examples.TASK_ID])
        result = signed_twice(closed_stack, keys, path, filled(operation.example.request, words))
        assert result["code"] == 0, (name, result)
        if name == "add_image":
            assert result["task_id"].startswith("shop-1/")
            words[examples.TASK_ID] = result["task_id"]
        if name == "product_search":
            assert [image["image_id"] for image in result["images"]] == ["front"]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_of_the_vendor_are_admitted_on_each_of_its_paths(
    closed_stack: Stack, keys: dict[str, str], package: str
) -> None:
    send_by_package = PACKAGES[package](closed_stack.base_url, keys)
    assert_old_calls_work(closed_stack, keys, f"店 {package}", send_by_package)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_of_the_vendor_are_refused_with_another_secret(
    closed_stack: Stack, keys: dict[str, str], package: str
) -> None:
    assert_refused(PACKAGES[package](closed_stack.base_url, keys | {"secret_key": "another"}))


def test_the_query_of_a_picture_is_signed_as_it_was_meant_however_it_was_sent(
    closed_stack: Stack, keys: dict[str, str]
) -> None:
    words = {examples.COLLECTION: "a+b 店"}
    for name in ("create_product", "add_image"):
        request = filled(BY_NAME[name].example.request, words)
        result = signed_twice(closed_stack, keys, f"/v1/{name}", request)
    finish(closed_stack, keys, result["task_id"])
    names = "product_id=boot-1&image_id=front"
    shop = quote("a+b 店", safe="")
    statuses = {}
    for spelled in (shop, shop.lower(), shop.replace("%20", "+"), shop.replace("%2B", "+")):
        target = f"/v1/picture?collection_name={spelled}&{names}"
        headers = signer(keys)(f"/v1/picture?{names}&collection_name={shop}", b"", "GET")
        response = send(closed_stack, target, b"", headers, "GET")
        statuses[spelled] = response.status_code
    assert list(statuses.values()) == [200, 200, 200, 401]


def test_both_algorithms_and_a_bearer_key_lead_to_the_same_user(
    closed_stack: Stack, keys: dict[str, str]
) -> None:
    path, body = "/v1/list_collections", b"{}"
    for algorithm in ("JDCLOUD2", "JDCLOUD3"):
        made = SignedBy(keys["access_key"], keys["secret_key"], datetime.now(UTC), algorithm)
        assert send(closed_stack, path, body, made(path, body)).json()["code"] == "10000"
    assert send(closed_stack, path, body, bearer(keys["api_key"])).json()["code"] == "10000"


def test_a_change_by_the_command_counts_from_the_next_call_on(
    closed_stack: Stack, keys: dict[str, str], users: Users
) -> None:
    def told(who: dict[str, str]) -> list[str]:
        path, body = "/v1/list_collections", b"{}"
        both = (signer(who)(path, body), bearer(who["api_key"]))
        return [send(closed_stack, path, body, headers).json()["code"] for headers in both]

    old = users("add", "shop-2")
    assert told(old) == ["10000"] * 2
    new = users("rotate", "shop-2")
    assert told(old) == ["10001"] * 2
    assert told(new) == ["10000"] * 2
    users("disable", "shop-2")
    assert told(new) == ["10050"] * 2
    assert told(keys) == ["10000"] * 2
    users("enable", "shop-2")
    assert told(new) == ["10000"] * 2


def test_the_program_of_the_docs_signs_as_it_should(
    closed_stack: Stack, keys: dict[str, str]
) -> None:
    page = (ROOT / "docs" / "users.md").read_text(encoding="utf-8")
    program = page.partition("```python\n")[2].partition("```")[0]
    for shown, own in (
        ('"SK...", "..."', f'"{keys["access_key"]}", "{keys["secret_key"]}"'),
        ("http://127.0.0.1:8000", closed_stack.base_url),
    ):
        assert shown in program
        program = program.replace(shown, own)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["result"]["code"] == 0


def test_no_log_of_any_process_holds_a_secret(closed_stack: Stack, keys: dict[str, str]) -> None:
    data_dir = Path(closed_stack.environment["SNAPSKU_DATA_DIR"])
    key = (data_dir / KEY_FILE).read_text(encoding="ascii").strip()
    logs = "".join(closed_stack.log(kind) for kind in closed_stack.processes)
    assert "not admitted" in logs
    for secret in (keys["secret_key"], keys["api_key"], key):
        assert secret not in logs
