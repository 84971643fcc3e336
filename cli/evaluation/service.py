"""The running service, as the evaluation asks it: searches, and pictures of products."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

#: Seconds for a connection, and for an answer.
TIMEOUT = (5.0, 60.0)

#: Answers that say "later", with Retry-After.
LATER = (429, 503)

#: The business codes of a search that found nothing, and of a product that is not there.
NOTHING_FOUND, NO_PRODUCT = 3009, 3007


class ServiceError(Exception):
    """The service can't be used for an evaluation; the text says why."""


@dataclass(frozen=True)
class Found:
    """The answer to a search."""

    milliseconds: float
    boxes: list[dict[str, int]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)  #: the best one of each product
    refusal: str = ""  #: why the picture was not searched; empty if it was


class Service:
    """One collection of a running service. Threads may share it."""

    def __init__(self, url: str, collection: str, api_key: str = "") -> None:
        """Take the address of the service, and a key unless none is needed."""
        self._url = url.rstrip("/")
        self._collection = collection
        self._session = requests.Session()
        retry = Retry(
            total=8,
            status_forcelist=LATER,
            allowed_methods=None,
            backoff_factor=0.5,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=64))
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def search(self, content: str, category: str | None, topk: int) -> Found:
        """Return the products found for a URL or Base64, and how long the answer took.

        Raises ServiceError if the service can't be reached, or the call is at fault.
        """
        optional = {} if category is None else {"category": category}
        started = time.perf_counter()
        result = self._call(
            "product_search",
            image_content=content,
            topk=topk,
            group_by_product=True,
            **optional,
        )
        milliseconds = (time.perf_counter() - started) * 1000
        if result["code"] == 0:
            return Found(milliseconds, result["rectangle"], result["images"])
        if result["code"] == NOTHING_FOUND:
            return Found(milliseconds)
        return Found(milliseconds, refusal=f"{result['message']}: {result.get('detail', '')}")

    def image_of(self, product_id: str) -> str | None:
        """Return the id of an image of a product, None if it has none. Raises ServiceError."""
        result = self._call("image_info", product_id=product_id)
        if result["code"] == NO_PRODUCT:
            return None
        if result["code"] != 0:
            raise ServiceError(f"image_info: {result['message']}: {result.get('detail', '')}")
        images = result["image_list"]
        return images[0]["image_id"] if images else None

    def picture(self, product_id: str, image_id: str) -> bytes | None:
        """Return the kept JPEG of an image, None if none was kept. Raises ServiceError."""
        response = self._send(
            "GET",
            "/v1/picture",
            params={
                "collection_name": self._collection,
                "product_id": product_id,
                "image_id": image_id,
            },
        )
        return response.content if response.status_code == requests.codes.ok else None

    def check(self) -> None:
        """Check that there is such a collection to search. Raises ServiceError."""
        result = self._call("list_products", limit=1)
        if result["code"] != 0:
            raise ServiceError(f"{self._collection}: {result['message']}")

    def _call(self, operation: str, **body: Any) -> dict[str, Any]:
        body["collection_name"] = self._collection
        response = self._send("POST", f"/v1/{operation}", json=body)
        try:
            answer = response.json()
            code, result = answer["code"], answer.get("result")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServiceError(f"{self._url} is no snapsku: HTTP {response.status_code}") from error
        if code != "10000" or not isinstance(result, dict):
            detail = answer.get("detail") or answer.get("msg", "")
            raise ServiceError(f"{operation} was answered {code}: {detail}")
        return result

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._session.request(method, self._url + path, timeout=TIMEOUT, **options)
        except requests.RequestException as error:
            raise ServiceError(f"{self._url} can't be reached: {error}") from error
