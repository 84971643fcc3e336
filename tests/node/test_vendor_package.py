"""Calls that npm's jdcloud-sdk-js signs (JDCLOUD2, with blanks collapsed) and sends."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.clients.example_calls import Send, assert_old_calls_work, assert_refused
from tests.e2e.stack import Stack
from tests.node.conftest import Run


def sending(run: Run, stack: Stack, keys: dict[str, str]) -> Send:
    """Return a function that sends calls by the package."""

    def send(path: str, body: Any) -> dict[str, Any]:
        asked = {
            "host": urlsplit(stack.base_url).netloc,
            "accessKey": keys["access_key"],
            "secretKey": keys["secret_key"],
            "path": path,
            "body": body,
        }
        answer: dict[str, Any] = json.loads(run("node", "vendor_call.cjs", json.dumps(asked)))
        return answer

    return send


@pytest.mark.timeout(900)
def test_the_package_is_admitted_on_each_of_its_paths(
    closed_stack: Stack, keys: dict[str, str], run: Run
) -> None:
    assert_old_calls_work(closed_stack, keys, "店 js", sending(run, closed_stack, keys))


@pytest.mark.timeout(900)
def test_the_package_is_refused_with_another_secret(
    closed_stack: Stack, keys: dict[str, str], run: Run
) -> None:
    assert_refused(sending(run, closed_stack, keys | {"secret_key": "another"}))
