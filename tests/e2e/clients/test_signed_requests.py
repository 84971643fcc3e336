"""Keys made by the command, and requests signed by the words of the contract, on a real stack."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from app.operations import examples
from app.server import OPERATIONS
from cli.processes import ROOT
from identity.vault import KEY_FILE
from tests.e2e.clients.packages import PACKAGES
from tests.e2e.stack import Stack
from tests.request_signer import SignedBy, bearer
from tests.servers import Servers

#: The operations in an order in which their examples can be run.
ORDER = (
    *("create_product", "add_image", "task_status", "list_tasks", "product_search"),
    *("image_info", "update_image", "update_product", "list_products", "list_collections"),
    *("delete_image", "delete_product", "delete_collection"),
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}

#: Those that the vendor's service has, too.
OLD_ORDER = [name for name in ORDER if BY_NAME[name].path_of_old_clients]
FINISH_SECONDS = 240.0

Users = Callable[..., Any]


@pytest.fixture(scope="module")
def closed_stack(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory, short_times: dict[str, str]
) -> Iterator[Stack]:
    """A stack of its own, on a catalogue that no other test uses: its first key closes it."""
    stack = Stack(
        tmp_path_factory.mktemp("closed"),
        tmp_path_factory.mktemp("closed-logs"),
        mongo_url=servers.mongo_url,
        redis_url=servers.redis_url.replace("/0", "/7"),
        mongo_database="snapsku_closed",
        **short_times,
    )
    stack.start(*(kind for kind in stack.kinds if kind != "flower"))
    try:
        stack.await_ready()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def users(closed_stack: Stack) -> Users:
    """Return a function that runs `snapsku users` and gives what it printed."""

    def called(*arguments: str) -> Any:
        ended = subprocess.run(
            [sys.executable, "-m", "cli.main", "users", *arguments],
            cwd=ROOT,
            env=closed_stack.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return called


@pytest.fixture(scope="module")
def keys(closed_stack: Stack, users: Users) -> dict[str, str]:
    """The keys of the first user; before them the service served this machine."""
    url = f"{closed_stack.base_url}/v1/list_collections"
    assert requests.post(url, json={}, timeout=10).json()["code"] == "10000"
    made: dict[str, str] = users("add", "shop-1")
    assert requests.post(url, json={}, timeout=10).json()["code"] == "10042"
    return made


def signer(keys: dict[str, str]) -> SignedBy:
    return SignedBy(keys["access_key"], keys["secret_key"], datetime.now(UTC))


def send(
    stack: Stack, target: str, body: bytes, headers: dict[str, str], method: str = "POST"
) -> requests.Response:
    sent = {"Content-Type": "application/json", **headers}
    return requests.request(
        method, f"{stack.base_url}{target}", data=body, headers=sent, timeout=30
    )


def signed_twice(stack: Stack, keys: dict[str, str], path: str, body: Any) -> dict[str, Any]:
    """Send a signed request twice; return the result of the first, the second is refused."""
    data = json.dumps(body, ensure_ascii=False).encode()
    headers = signer(keys)(path, data)
    first, second = (send(stack, path, data, headers) for _ in range(2))
    assert (first.status_code, first.json()["code"]) == (200, "10000"), first.text
    assert (second.status_code, second.json()["code"]) == (401, "10047"), second.text
    result: dict[str, Any] = first.json()["result"]
    return result


def filled(value: Any, words: dict[str, str]) -> Any:
    """Return an example with other words in place of its own."""
    text = json.dumps(value, ensure_ascii=False)
    for word, other in words.items():
        text = text.replace(f'"{word}"', f'"{other}"')
    return json.loads(text)


def finish(stack: Stack, keys: dict[str, str], task_id: str) -> None:
    deadline = time.monotonic() + FINISH_SECONDS
    while time.monotonic() < deadline:
        body = json.dumps({"task_id": task_id}).encode()
        answer = send(stack, "/v1/task_status", body, bearer(keys["api_key"])).json()
        if answer["result"]["task_status"] == "FINISHED":
            return
        time.sleep(0.2)
    raise AssertionError(f"{task_id} is not finished")


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
    assert len(OLD_ORDER) == 7
    send_by_package = PACKAGES[package](closed_stack.base_url, keys)
    words = {examples.COLLECTION: f"店 {package}"}
    for name in OLD_ORDER:
        if name == "task_status":
            finish(closed_stack, keys, words[examples.TASK_ID])
        operation = BY_NAME[name]
        body = filled(operation.example.request, words)
        answer = send_by_package(operation.paths[-1], body)
        assert (answer["code"], answer["result"]["code"]) == ("10000", 0), (name, answer)
        if name == "add_image":
            words[examples.TASK_ID] = answer["result"]["task_id"]
        if name == "product_search":
            assert [image["image_id"] for image in answer["result"]["images"]] == ["front"]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_of_the_vendor_are_refused_with_another_secret(
    closed_stack: Stack, keys: dict[str, str], package: str
) -> None:
    forged = PACKAGES[package](closed_stack.base_url, keys | {"secret_key": "another"})
    answer = forged("/jdai/product_image_status", {"task_id": "shop-1/x/1.1"})
    assert answer["code"] == "10047"
    assert "POST /jdai/product_image_status" in answer["detail"]


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
