"""Calls that the vendor's own packages sign and send, the way its clients in the field do."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import jdcloud_apim_sdk.core.config
import jdcloud_apim_sdk.core.credential
import jdcloud_sdk.core.config
import jdcloud_sdk.core.credential
from jdcloud_apim_sdk.simpleclient import SimpleClient
from jdcloud_apim_sdk.simplerequest import SimpleRequest
from jdcloud_sdk.core.jdcloudclient import JDCloudClient
from jdcloud_sdk.core.jdcloudrequest import JDCloudRequest

from tests.e2e.clients.example_calls import Send

SECONDS = 30


class Listener:
    """A logger of the packages that keeps the body of the last answer, and prints nothing."""

    def __init__(self) -> None:
        self.answer = b""

    def log(self, level: int, message: Any) -> None:
        if isinstance(message, bytes):
            self.answer = message


def apim_sdk(url: str, keys: dict[str, str]) -> Send:
    """PyPI's jdcloud-apim-sdk: JDCLOUD2, which signs host, content type, date and nonce."""
    core = jdcloud_apim_sdk.core
    client = SimpleClient(
        core.config.Config(urlsplit(url).netloc, "http", SECONDS),
        core.credential.Credential(keys["access_key"], keys["secret_key"]),
        Listener(),
    )

    def send(path: str, body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = client.send(SimpleRequest(path, "POST", body=body)).json()
        return answer

    return send


def sdk(url: str, keys: dict[str, str]) -> Send:
    """PyPI's jdcloud-sdk: JDCLOUD3, which signs host and content type alone."""
    core, listener = jdcloud_sdk.core, Listener()
    client = JDCloudClient(
        core.credential.Credential(keys["access_key"], keys["secret_key"]),
        core.config.Config(urlsplit(url).netloc, "http", SECONDS),
        "search",
        "1.0",
        listener,
    )

    def send(path: str, body: Any) -> dict[str, Any]:
        version, _, rest = path.lstrip("/").partition("/")
        request = JDCloudRequest(f"/{rest}", "POST", version=version)
        request.parameters = body
        returned = client.send(request)
        answer: dict[str, Any] = json.loads(listener.answer)
        # The package drops the result of an answer without a requestId.
        assert returned.result == answer.get("result")
        return answer

    return send


#: By name; each takes the URL of the service and the keys of a user. npm's is in tests/node.
PACKAGES = {"jdcloud-apim-sdk": apim_sdk, "jdcloud-sdk": sdk}
