"""The steady load of a soak run: adds, polls, searches and deletes, as many as it adds.

Three clients at once, each a thread of its own. Knows the service by its contract only.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.client import ChaosClient
from tests.chaos.pictures import Kind, Picture, PictureServer, make_picture
from tests.e2e.client import as_base64, ids

CATEGORIES = ("服装", "鞋靴", "其他")
SHOP, STALL = "soak-shop", "soak-stall"
#: Products that live in the shop at once, and images that each of them gets.
PRODUCTS, IMAGES = 15, 6
#: A product with its images comes, and from then on one goes, so often.
ADD_SECONDS = 3.0
POLL_SECONDS = 0.7
SEARCH_SECONDS = 1.0
#: The second collection is deleted and made again with every so many products of the first.
STALL_EVERY = 6
#: Nothing is added while so many tasks are open: a slow machine gets less, not a backlog.
OPEN_TASKS = 4
#: A task may wait so long on a machine that does other things as well.
FINISH_SECONDS = 90.0


class SoakError(Exception):
    """The service answered what it must not."""


@dataclass
class Product:
    """A product of the shop, its images and what became of them."""

    product_id: str
    pictures: dict[str, Picture] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)  #: images that can be searched for


@dataclass(frozen=True)
class _Open:
    task_id: str
    product: Product
    begun: float


class Load:
    """Runs while the block runs; counts what it did."""

    def __init__(self, base_url: str, server: PictureServer) -> None:
        self.done: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self._base_url = base_url
        self._server = server
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._shop: deque[Product] = deque()
        self._open: list[_Open] = []
        self._pool = ThreadPoolExecutor(3)
        self._threads: list[Future[None]] = []

    def __enter__(self) -> Load:
        steps = (
            (self._trade, ADD_SECONDS),
            (self._poll, POLL_SECONDS),
            (self._search, SEARCH_SECONDS),
        )
        self._threads = [self._pool.submit(self._repeat, *step) for step in steps]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()

    @property
    def living(self) -> int:
        """Images of the shop that a search finds."""
        with self._guard:
            return sum(len(product.found) for product in self._shop)

    def check(self) -> None:
        """Raise what ended one of the clients."""
        for thread in self._threads:
            if thread.done():
                thread.result()

    def _repeat(self, step: Callable[[_Caller], None], seconds: float) -> None:
        caller = _Caller(self._base_url, self.attempts)
        chance = random.Random(step.__name__)
        try:
            while not self._over.is_set():
                begun = time.monotonic()
                step(caller)
                pause = seconds * chance.uniform(0.8, 1.2) - (time.monotonic() - begun)
                self._over.wait(max(0.0, pause))
        finally:
            caller.close()

    def _trade(self, caller: _Caller) -> None:
        if len(self._open) >= OPEN_TASKS:
            self.done["turns left out"] += 1
            return
        number = self.done["products made"]
        product = self._make(caller, SHOP, number, IMAGES)
        with self._guard:
            self._shop.append(product)
        if number % 5 == 1:
            self._delete_at_once(caller, product)
        while len(self._shop) > PRODUCTS:
            self._end(caller, self._shop[0], by_image=number % 2 == 0)
        if number % STALL_EVERY == 0:
            if self.done["collections made"]:
                caller.ok("delete_collection", collection_name=STALL)
                self.done["collections deleted"] += 1
            self._make(caller, STALL, number, IMAGES // 2)
            self.done["collections made"] += 1

    def _make(self, caller: _Caller, collection: str, number: int, count: int) -> Product:
        """Create a product, and add its images; in every third call one is bad."""
        product = Product(f"{collection}-{number}")
        chance = random.Random(product.product_id)
        row = {
            "product_id": product.product_id,
            "product_name": f"商品 {number}",
            "category": CATEGORIES[number % 3],
        }
        caller.ok("create_product", collection_name=collection, product_list=[row])
        faults = [kind for kind in Kind if kind.fault]
        images = []
        for place in range(count):
            bad = number % 3 == 0 and place == 0
            kind = faults[number // 3 % len(faults)] if bad else Kind.GOOD
            picture = make_picture(f"{product.product_id}-{place}", kind, chance)
            by_url = kind.by_url or place % 2 == 0
            content = self._server.offer(picture) if by_url else as_base64(picture.data)
            product.pictures[picture.key] = picture
            images.append(
                {
                    "product_id": product.product_id,
                    "image_id": picture.key,
                    "image_content": content,
                }
            )
        body = {"collection_name": collection, "image_list": images}
        headers = {"Idempotency-Key": uuid.uuid4().hex} if number % 2 else None
        added = caller.ok("add_image", headers, **body)
        if headers and number % 4 == 1:
            again = caller.ok("add_image", headers, **body)
            if again["task_id"] != added["task_id"]:
                raise SoakError(f"one key, two tasks: {added} {again}")
        self.done["products made"] += 1 if collection == SHOP else 0
        self.done["images sent"] += len(images)
        with self._guard:
            self._open.append(_Open(added["task_id"], product, time.monotonic()))
        return product

    def _delete_at_once(self, caller: _Caller, product: Product) -> None:
        """Delete an image that is most likely still on its way."""
        image_id = list(product.pictures)[-1]
        self._delete_images(caller, product, [image_id])

    def _end(self, caller: _Caller, product: Product, *, by_image: bool) -> None:
        with self._guard:
            self._shop.popleft()
            found = product.found
            product.found = []
        if by_image and found:
            self._delete_images(caller, product, found)
        caller.ok("delete_product", collection_name=SHOP, product_id_list=[product.product_id])
        self.done["products deleted"] += 1

    def _delete_images(self, caller: _Caller, product: Product, image_ids: list[str]) -> None:
        with self._guard:
            product.found = [image for image in product.found if image not in image_ids]
            for image_id in image_ids:
                product.pictures.pop(image_id)
        caller.ok(
            "delete_image",
            collection_name=SHOP,
            image_id_list=[{"product_id": product.product_id, "image_id": i} for i in image_ids],
        )
        self.done["images deleted by name"] += len(image_ids)

    def _poll(self, caller: _Caller) -> None:
        with self._guard:
            waiting = list(self._open)
        for task in waiting:
            status = caller.ok("task_status", task_id=task.task_id)
            self.done["polls"] += 1
            if status["task_status"] != "FINISHED":
                if time.monotonic() - task.begun > FINISH_SECONDS:
                    raise SoakError(f"not finished after {FINISH_SECONDS} s: {status}")
                continue
            with self._guard:
                self._open.remove(task)
                if task.product in self._shop:
                    task.product.found = [
                        image
                        for image in ids(status["succeeded_list"])
                        if image in task.product.pictures
                    ]
            self.done["tasks finished"] += 1
            self.done["images succeeded"] += len(status["succeeded_list"])
            self.done["images failed"] += len(status["failed_list"])

    def _search(self, caller: _Caller) -> None:
        with self._guard:
            living = [(product, image) for product in self._shop for image in product.found]
            if not living:
                return
            product, image = random.choice(living)
            picture = product.pictures[image]
        content = as_base64(picture.data)
        answer = caller.ok("product_search", collection_name=SHOP, image_content=content, topk=10)
        self.done["searches"] += 1
        with self._guard:
            lives = image in product.found
        if lives and image not in ids(answer["images"]):
            raise SoakError(f"{image} is not found: {answer}")


class _Caller:
    """A client all of whose calls must succeed."""

    def __init__(self, base_url: str, attempts: Counter[str]) -> None:
        self._client = ChaosClient(base_url, attempts)

    def close(self) -> None:
        self._client.close()

    def ok(
        self, operation: str, headers: dict[str, str] | None = None, **body: Any
    ) -> dict[str, Any]:
        """Return the result of a call; raises SoakError where it did not succeed."""
        reply = self._client.call(operation, body, headers=headers)
        if reply.result is None or reply.code != 0 or reply.result.get("failed_list"):
            if operation == "task_status" and reply.code == 0:
                return reply.result or {}
            raise SoakError(f"{operation}: {reply}")
        return reply.result
