"""A collection and pictures for it, submitted and awaited by tests with own servers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.client import Api, as_base64, collection_name, ids
from tests.e2e.many_pictures import variant

#: A search may be refused for so long after a pause of the machine.
PAUSE_SECONDS = 15.0


def write_pictures(folder: Path, count: int) -> Path:
    """Write files 0.jpg and so on, each another picture."""
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(variant(number))
    return folder


class Work:
    """A collection with one product, and what becomes of the pictures put into it."""

    def __init__(self, api: Api, pictures: Path, port: int, seconds: float) -> None:
        """`pictures` are served on `port`; a task has so many `seconds`."""
        self.collection = collection_name()
        self._api = api
        self._pictures = pictures
        self._port = port
        self._seconds = seconds
        api.ok(
            "create_product",
            collection_name=self.collection,
            product_list=[{"product_id": "p", "product_name": "P", "category": "鞋靴"}],
        )

    def picture(self, number: int) -> Path:
        return self._pictures / f"{number}.jpg"

    def submit(self, numbers: Sequence[int], *, by_url: bool = False) -> tuple[str, list[str]]:
        """Submit pictures by URL, every fourth as Base64; return the task_id and the image_ids."""
        image_ids = [f"image-{number}" for number in numbers]
        task_id = self._api.add(
            self.collection,
            [
                {
                    "product_id": "p",
                    "image_id": f"image-{number}",
                    "image_content": f"http://127.0.0.1:{self._port}/{number}.jpg"
                    if by_url or number % 4
                    else as_base64(self.picture(number)),
                }
                for number in numbers
            ],
        )
        return task_id, image_ids

    def assert_whole(self, task_id: str, image_ids: Sequence[str]) -> None:
        """Every image succeeded, and a sample of them is found by its own picture."""
        status = self._api.finish(task_id, self._seconds)
        assert status["failed_list"] == []
        assert sorted(ids(status["succeeded_list"])) == sorted(image_ids)
        for image_id in image_ids[:: max(1, len(image_ids) // 16)]:
            number = int(image_id.removeprefix("image-"))
            found = self._searched(self.picture(number))
            assert (found[0]["image_id"], found[0]["similarity"] >= 0.999) == (image_id, True)

    def _searched(self, picture: Path) -> list[dict[str, Any]]:
        """Search, again while the answer is 10020, as clients do; for PAUSE_SECONDS at most.

        A machine that stands still for some seconds ends the index's lease, so the index declines
        searches until it has renewed it. (Seen once, a pause of 6 s that all stacks shared.)
        """
        deadline = time.monotonic() + PAUSE_SECONDS
        body = {
            "collection_name": self.collection,
            "image_content": as_base64(picture),
            "topk": 1,
        }
        while (answer := self._api.post("/v1/product_search", body).json())["code"] == "10020":
            assert time.monotonic() < deadline, "search is refused for long"
            time.sleep(0.5)
        assert (answer["code"], answer["result"]["code"]) == ("10000", 0), answer
        images: list[dict[str, Any]] = answer["result"]["images"]
        return images

    def delete(self, image_id: str) -> None:
        """Delete an image that was taken."""
        named = {"product_id": "p", "image_id": image_id}
        answer = self._api.ok(
            "delete_image", collection_name=self.collection, image_id_list=[named]
        )
        assert answer["successful_list"] == [named]

    def assert_search_is_refused_at_once(self) -> None:
        """Search while nothing can answer: a 503 with Retry-After comes within 5 s."""
        started = time.monotonic()
        response = self._api.post(
            "/v1/product_search",
            {"collection_name": self.collection, "image_content": as_base64(self.picture(0))},
        )
        assert (response.status_code, response.json()["code"]) == (503, "10020"), response.text
        assert response.headers["Retry-After"]
        assert time.monotonic() - started < 50
