"""Calls of two services in turn, one with a large catalogue, one with a small, and their times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo import MongoClient

from catalog.rows.tasks import AFTER_DIGITS
from identity.keys import DEFAULT_USER
from tests.volume.catalog import PRODUCTS_AT_ONCE, Shape, collection_name, user_of_collection
from tests.volume.files import DATABASE
from tests.volume.service import Service
from tools.demo.manifest import load

#: No median may be more times that of the small service.
ALLOWED = 1.5
#: The collection that both services have, with as many images and vectors.
SHOP = collection_name(0)
IMAGES_PER_CALL = 200
SWEEPS_BEFORE = 5
NOWHERE = "http://127.0.0.1:9"

Call = Callable[[Service, int], Any]


@dataclass(frozen=True)
class Measure:
    """What is timed, how often on each of the two, and how often before that."""

    name: str
    call: Call
    times: int
    warm_up: int = 2


@dataclass
class Times:
    """Seconds of the small and of the large service."""

    small: list[float] = field(default_factory=list)
    large: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times the median of the small one that of the large one is."""
        return statistics.median(self.large) / statistics.median(self.small)


def percentile_95(seconds: Sequence[float]) -> float:
    """Return the 95th percentile, the largest where there are few."""
    return sorted(seconds)[min(len(seconds) - 1, round(0.95 * len(seconds)))]


def in_turn(measure: Measure, small: Service, large: Service) -> Times:
    """Time the same calls on both, in changing order."""
    times = Times()
    for number in range(measure.warm_up + measure.times):
        pair = [(small, times.small), (large, times.large)]
        for service, seconds in pair if number % 2 else pair[::-1]:
            begun = time.perf_counter()
            measure.call(service, number)
            if number >= measure.warm_up:
                seconds.append(time.perf_counter() - begun)
    return times


def sweeps_in_turn(small: Service, large: Service, times: int) -> dict[str, Times]:
    """Time every sweep on both, in changing order; the first find work, and are not counted."""
    found: dict[str, Times] = {}
    for number in range(times + SWEEPS_BEFORE):
        pair = [(small, "small"), (large, "large")]
        for service, which in pair if number % 2 else pair[::-1]:
            for name, seconds in service.sweep().items():
                if number >= SWEEPS_BEFORE:
                    getattr(found.setdefault(f"sweep: {name}", Times()), which).append(seconds)
    return found


class Calls:
    """The calls that are timed; submissions come first, so that lists have open tasks to show."""

    def __init__(self, small: Service, large: Service) -> None:
        self._finished = {service.shape: _finished_tasks(service) for service in (small, large)}
        self._submitted: dict[Shape, list[str]] = {small.shape: [], large.shape: []}
        self._samples = load().images
        # Both can show so many rows of each list.
        self._limit = min(50, len(self._finished[small.shape]))

    def measures(self, scale: float = 1.0) -> list[Measure]:
        """Return what is timed; `scale` multiplies how often."""

        def often(times: int) -> int:
            return max(4, round(times * scale))

        def listing(operation: str, **body: Any) -> Call:
            return _lister(operation, **{"limit": self._limit, **body})

        return [
            Measure(
                "add_image of 200 URLs", lambda s, n: self._add(s, n, IMAGES_PER_CALL), often(30)
            ),
            Measure("add_image of 1 URL", lambda s, n: self._add(s, n, 1), often(100)),
            Measure("task_status, finished", self._poll_finished, often(200)),
            Measure("task_status, open, 1 image", self._poll_submitted, often(200)),
            Measure("list_tasks", listing("list_tasks"), often(60)),
            Measure(
                "list_tasks, FINISHED", listing("list_tasks", task_status="FINISHED"), often(60)
            ),
            Measure(
                "list_tasks, PROCESSING",
                listing("list_tasks", task_status="PROCESSING", limit=20),
                often(60),
            ),
            Measure(
                "list_tasks of a collection, FINISHED",
                listing("list_tasks", collection_name=SHOP, task_status="FINISHED"),
                often(60),
            ),
            Measure("list_collections, 1", listing("list_collections", limit=1), often(60)),
            Measure(
                "list_products", listing("list_products", collection_name=SHOP, limit=20), often(60)
            ),
            Measure("image_info", _image_info, often(100)),
            Measure("product_search", self._search, often(60), warm_up=6),
            Measure("delete_image", _delete, often(60)),
        ]

    def _add(self, service: Service, number: int, count: int) -> None:
        products = service.shape.collection_images // 10
        images = [
            {
                "product_id": f"p-{(number * count + n) % products}",
                "image_id": f"new-{count}-{number}-{n}",
                "image_content": f"{NOWHERE}/{count}-{number}-{n}.jpg",
            }
            for n in range(count)
        ]
        answer = service.api.ok("add_image", collection_name=SHOP, image_list=images)
        assert answer["failed_list"] == []
        if count == 1:
            self._submitted[service.shape].append(answer["task_id"])

    def _poll_finished(self, service: Service, number: int) -> None:
        tasks = self._finished[service.shape]
        answer = service.api.ok("task_status", task_id=tasks[number * 37 % len(tasks)])
        assert answer["task_status"] == "FINISHED"

    def _poll_submitted(self, service: Service, number: int) -> None:
        tasks = self._submitted[service.shape]
        answer = service.api.ok("task_status", task_id=tasks[number % len(tasks)])
        assert len(answer["pending_list"]) == 1

    def _search(self, service: Service, number: int) -> None:
        sample = self._samples[number % len(self._samples)]
        assert service.api.search(SHOP, sample.path), "nothing was found"


def _lister(operation: str, **body: Any) -> Call:
    """Return a call of a list, whose answer must have what the small service can show, too."""

    def listing(service: Service, _: int) -> None:
        answer = service.api.ok(operation, **body)
        (rows,) = (value for name, value in answer.items() if name.endswith("_list"))
        assert len(rows) == body["limit"], (operation, body, len(rows))

    return listing


def _image_info(service: Service, number: int) -> None:
    product = number * 7 % (service.shape.collection_images // 10)
    service.api.ok("image_info", collection_name=SHOP, product_id=f"p-{product}")


def _delete(service: Service, number: int) -> None:
    """Delete a generated image; the first hundred of a collection are of its first products."""
    image = {"product_id": f"p-{number % PRODUCTS_AT_ONCE}", "image_id": f"i-{number}"}
    answer = service.api.ok("delete_image", collection_name=SHOP, image_id_list=[image])
    assert answer["successful_list"], answer


def _finished_tasks(service: Service) -> list[str]:
    """Return tasks of the collections of the user that calls."""
    shape = service.shape
    found: list[str] = []
    with MongoClient[dict[str, Any]](service.mongo_url) as client:
        for number in range(shape.collections):
            if user_of_collection(shape, number) == DEFAULT_USER:
                key = f"{DEFAULT_USER}/{collection_name(number)}"
                span = {"$gt": f"{key}/", "$lt": f"{key}/{AFTER_DIGITS}"}
                rows = client[DATABASE]["tasks"].find({"task_id": span}).limit(200)
                found += [row["_id"] for row in rows if row["finished_at"]]
    return found


def table(times: Mapping[str, Times]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        "| what | small, median | large, median | ratio | small, 95th | large, 95th |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in times.items():
        small, large = statistics.median(one.small), statistics.median(one.large)
        lines.append(
            f"| {name} ({len(one.small)}) | {small * 1000:.1f} ms | {large * 1000:.1f} ms "
            f"| {one.ratio:.2f} | {percentile_95(one.small) * 1000:.1f} ms "
            f"| {percentile_95(one.large) * 1000:.1f} ms |"
        )
    return "\n".join(lines)
