"""A client of the contract for the end-to-end tests: every call as a real client makes it."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import requests

from tools.demo.manifest import SampleImage

PATHS_OF_OLD_CLIENTS = {
    "create_product": "/jdai/product_image_create_product",
    "add_image": "/jdai/product_image_add",
    "task_status": "/jdai/product_image_status",
    "product_search": "/jdai/product_image_search",
    "image_info": "/jdai/product_image_info",
    "delete_image": "/jdai/product_image_del_image",
    "delete_product": "/jdai/product_image_del_product",
}

#: Ten times what a task takes on two free cores.
FINISH_SECONDS = 240.0


def as_base64(content: Path | bytes) -> str:
    """Return a file, or bytes, as the text of `image_content`."""
    data = content if isinstance(content, bytes) else content.read_bytes()
    return base64.b64encode(data).decode()


def ids(images: Iterable[dict[str, Any]]) -> list[str]:
    """The image_ids of a list of an answer, in its order."""
    return [image["image_id"] for image in images]


class Api:
    """Calls of the contract; none may be answered by a fault of the service."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        self._session.close()

    def post(self, path: str, body: Any) -> requests.Response:
        """POST a body and return the answer; a 500 and a missing request id are faults."""
        response = self._session.post(f"{self.base_url}{path}", json=body, timeout=60)
        assert response.status_code != 500, response.text
        assert response.headers["X-Request-Id"], response.headers
        return response

    def raw(self, method: str, path: str, body: bytes | None) -> requests.Response:
        """Send bytes as they are, as JSON."""
        return self._session.request(
            method,
            f"{self.base_url}{path}",
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=60,
        )

    def call(self, operation: str, **body: Any) -> dict[str, Any]:
        """Return the result of a call that the service handled, whatever its business code is."""
        response = self.post(f"/v1/{operation}", body)
        answer = response.json()
        assert answer["code"] == "10000", answer
        assert response.status_code == 200, answer
        result: dict[str, Any] = answer["result"]
        return result

    def ok(self, operation: str, **body: Any) -> dict[str, Any]:
        """Return the result of a call that succeeded."""
        result = self.call(operation, **body)
        assert (result["code"], result["message"]) == (0, "SUCCESS"), result
        return result

    def create(self, collection: str, samples: Iterable[SampleImage]) -> None:
        """Create the products of these samples."""
        products = {
            sample.product_id: {
                "product_id": sample.product_id,
                "product_name": sample.product_name,
                "category": sample.category,
            }
            for sample in samples
        }
        created = self.ok(
            "create_product", collection_name=collection, product_list=list(products.values())
        )
        assert created["failed_list"] == []

    def add(self, collection: str, images: Sequence[dict[str, Any]]) -> str:
        """Submit images that are all taken; return the task_id."""
        added = self.ok("add_image", collection_name=collection, image_list=list(images))
        assert added["failed_list"] == []
        task_id: str = added["task_id"]
        return task_id

    def add_samples(self, collection: str, samples: Sequence[SampleImage]) -> str:
        """Submit samples as Base64 under their own ids; return the task_id."""
        return self.add(
            collection,
            [
                {
                    "product_id": sample.product_id,
                    "image_id": sample.image_id,
                    "image_content": as_base64(sample.path),
                }
                for sample in samples
            ],
        )

    def finish(
        self, task_id: str, seconds: float = FINISH_SECONDS, pause: float = 0.1
    ) -> dict[str, Any]:
        """Poll to the end; return the last status, whose lists hold no image twice."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.ok("task_status", task_id=task_id)
            if status["task_status"] == "FINISHED":
                ended = ids(status["succeeded_list"]) + ids(status["failed_list"])
                assert len(ended) == len(set(ended)), status
                assert status["pending_list"] == []
                return status
            assert status["pending_list"], status
            time.sleep(pause)
        raise AssertionError(f"not finished after {seconds} s: {status}")

    def search(self, collection: str, content: Path | bytes, **body: Any) -> list[dict[str, Any]]:
        """Return the images found for a picture; an empty list if the service finds none."""
        result = self.call(
            "product_search",
            collection_name=collection,
            image_content=as_base64(content),
            **body,
        )
        if result["code"] == 3009:
            return []
        assert result["code"] == 0, result
        images: list[dict[str, Any]] = result["images"]
        assert len(images) == len(set(ids(images))), images
        return images


def collection_name() -> str:
    """Return a collection name that no other test uses."""
    return f"商品库-{uuid.uuid4().hex[:8]}"
