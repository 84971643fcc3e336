"""A small client of the API, which raises an exception for every answer that is an error."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import requests

#: Seconds for a connection to be accepted.
CONNECT_TIMEOUT = 5.0


class SnapskuError(Exception):
    """An answer that is not a success.

    `code` is the system code (a string such as "10020") or, if that is "10000", the business code
    (an int such as 3009); None if the answer is not an envelope.
    """

    def __init__(self, code: str | int | None, message: str) -> None:
        """Take the code and the message of the answer."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class SnapskuClient:
    """Calls the operations of one server. Not thread-safe."""

    def __init__(self, base_url: str, *, timeout: float = 30.0, api_key: str = "") -> None:
        """Take the address of the server, the timeout of each answer in seconds, and a key.

        An empty `api_key` sends none.
        """
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._session = requests.Session()
        # No proxy of the environment, since the server is on loopback.
        self._session.trust_env = False
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def call(self, operation: str, **body: Any) -> dict[str, Any]:
        """POST `body` to /v1/`operation`, and return `result` of the answer.

        Raises SnapskuError for every answer that is not a success, and
        requests.RequestException if there is no answer.
        """
        response = self._session.post(
            f"{self._base_url}/v1/{operation}", json=body, timeout=(CONNECT_TIMEOUT, self._timeout)
        )
        try:
            answer = response.json()
        except requests.JSONDecodeError as error:
            raise SnapskuError(None, f"HTTP {response.status_code}, no JSON") from error
        if not isinstance(answer, dict) or "code" not in answer:
            raise SnapskuError(None, f"HTTP {response.status_code}, no envelope")
        if answer["code"] != "10000":
            raise SnapskuError(answer["code"], str(answer.get("msg", "")))
        result = answer.get("result")
        if not isinstance(result, dict):
            raise SnapskuError(None, f"HTTP {response.status_code}, no result")
        if result.get("code") != 0:
            raise SnapskuError(result.get("code"), str(result.get("message", "")))
        return result

    def create_product(
        self, collection_name: str, product_list: list[dict[str, str]]
    ) -> dict[str, Any]:
        """Create products, and return `successful_list` and `failed_list`."""
        return self.call(
            "create_product", collection_name=collection_name, product_list=product_list
        )

    def add_image(self, collection_name: str, image_list: list[dict[str, str]]) -> dict[str, Any]:
        """Submit pictures, and return `task_id` and `failed_list`."""
        return self.call("add_image", collection_name=collection_name, image_list=image_list)

    def task_status(self, task_id: str) -> dict[str, Any]:
        """Return `task_status` and the three lists of a task."""
        return self.call("task_status", task_id=task_id)

    def product_search(
        self,
        collection_name: str,
        image_content: str,
        *,
        category: str | None = None,
        topk: int | None = None,
    ) -> dict[str, Any]:
        """Search with a URL or Base64, and return `rectangle` and `images`."""
        optional: dict[str, Any] = {"category": category, "topk": topk}
        given = {name: value for name, value in optional.items() if value is not None}
        return self.call(
            "product_search", collection_name=collection_name, image_content=image_content, **given
        )
