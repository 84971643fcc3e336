"""The examples of the reference, sent by programs that sign their calls."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import requests

from app.operations import examples
from app.server import OPERATIONS
from tests.e2e.client import FINISH_SECONDS
from tests.e2e.stack import Stack
from tests.request_signer import bearer

#: Sends a body to a path, and returns the envelope that is answered.
Send = Callable[[str, Any], dict[str, Any]]

#: The operations in an order in which their examples can be run.
ORDER = (
    *("create_product", "add_image", "task_status", "list_tasks", "product_search"),
    *("image_info", "update_image", "update_product", "list_products", "list_collections"),
    *("delete_image", "delete_product", "delete_collection"),
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}

#: Those that the vendor's service has, too.
OLD_ORDER = [name for name in ORDER if BY_NAME[name].path_of_old_clients]


def send(
    stack: Stack, target: str, body: bytes, headers: dict[str, str], method: str = "POST"
) -> requests.Response:
    sent = {"Content-Type": "application/json", **headers}
    return requests.request(
        method, f"{stack.base_url}{target}", data=body, headers=sent, timeout=30
    )


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


def assert_old_calls_work(
    stack: Stack, keys: dict[str, str], collection: str, send_call: Send
) -> None:
    """Send the example of each operation of the vendor's on its older path."""
    assert len(OLD_ORDER) == 7
    words = {examples.COLLECTION: collection}
    for name in OLD_ORDER:
        if name == "task_status":
            finish(stack, keys, words[examples.TASK_ID])
        operation = BY_NAME[name]
        answer = send_call(operation.paths[-1], filled(operation.example.request, words))
        assert (answer["code"], answer["result"]["code"]) == ("10000", 0), (name, answer)
        if name == "add_image":
            words[examples.TASK_ID] = answer["result"]["task_id"]
        if name == "product_search":
            assert [image["image_id"] for image in answer["result"]["images"]] == ["front"]


def assert_refused(send_forged: Send) -> None:
    """Send a call that is signed with another secret."""
    answer = send_forged("/jdai/product_image_status", {"task_id": "shop-1/x/1.1"})
    assert answer["code"] == "10047"
    assert "POST /jdai/product_image_status" in answer["detail"]
