"""Pictures go in over HTTP and are found again."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

from demo.manifest import load

MANIFEST = load()


def finish(api: Any, task_id: str, seconds: float = 60.0) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = api.call("task_status", task_id=task_id)
        assert status["code"] == 0, status
        if status["task_status"] == "FINISHED":
            return status
        time.sleep(0.1)
    raise AssertionError(f"not finished: {status}")


def as_base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_what_went_in_as_url_or_base64_is_found_first_by_the_next_search(
    api: Any, collection: str, file_server: str
) -> None:
    first, second = MANIFEST.images[0], MANIFEST.images[20]
    created = api.call(
        "create_product",
        collection_name=collection,
        product_list=[
            {"product_id": s.product_id, "product_name": s.product_name, "category": s.category}
            for s in (first, second)
        ],
    )
    assert created["successful_list"] == [first.product_id, second.product_id]
    submitted = api.call(
        "add_image",
        collection_name=collection,
        image_list=[
            {
                "product_id": first.product_id,
                "image_id": "by-url",
                "image_content": f"{file_server}/{first.path.name}",
                "image_info": "正面",
            },
            {
                "product_id": second.product_id,
                "image_id": "by-base64",
                "image_content": as_base64(second.path),
            },
        ],
    )
    assert submitted["failed_list"] == []
    status = finish(api, submitted["task_id"])
    assert status["failed_list"] == []
    assert {image["image_id"] for image in status["succeeded_list"]} == {"by-url", "by-base64"}
    found = api.call(
        "product_search", collection_name=collection, image_content=as_base64(first.path)
    )
    best = found["images"][0]
    assert best["image_id"] == "by-url"
    assert best["similarity"] >= 0.999
    assert best["info"] == best["image_info"] == "正面"
    box = found["rectangle"][0]
    assert 0 <= box["left"] < box["right"]
    assert 0 <= box["top"] < box["bottom"]
