"""The steps of the demo with a running service: create, submit, poll, search, and evaluate."""

from __future__ import annotations

import base64
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

from tools.demo.client import SnapskuClient, SnapskuError

if TYPE_CHECKING:
    from tools.demo.manifest import Manifest, SampleImage
    from tools.demo.queries import Query

POLL_SECONDS = 0.3
INGEST_SECONDS = 300.0
TOPK = 50
#: The share of queries whose expected product must be first.
SHARE_FIRST = 0.8

Box = tuple[float, float, float, float]
#: Called with the counts of succeeded and of failed images so far.
Progress = Callable[[int, int], None]


class FlowError(Exception):
    """The service did not do what the demo needs to continue."""


@dataclass(frozen=True)
class Ingest:
    """The result of adding the pictures; failures are (image_id, reason)."""

    submitted: int
    failures: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def images_per_second(self) -> float:
        """The submitted images per second, from submission to the last outcome."""
        return self.submitted / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Hit:
    """One product that a search found, by its best image."""

    product_id: str
    product_name: str
    image_id: str
    similarity: float


@dataclass(frozen=True)
class Outcome:
    """The result of one query; `rank` counts products from 1, None if the product is not found.

    `box` is (left, top, right, bottom) in pixels of the query; `error` is empty if the search was
    answered.
    """

    query: Query
    expected_name: str
    rank: int | None
    similarity: float | None
    first: Hit | None
    box: Box | None
    milliseconds: float
    error: str = ""


@dataclass(frozen=True)
class Summary:
    """The figures of one run."""

    first: int
    queries: int
    ingested: int
    submitted: int
    ingest_seconds: float
    images_per_second: float
    median_milliseconds: float

    @property
    def passed(self) -> bool:
        """Whether all images were ingested, and enough expected products were first."""
        return (
            self.submitted > 0
            and self.ingested == self.submitted
            and self.queries > 0
            and self.first >= SHARE_FIRST * self.queries
        )

    def line(self) -> str:
        """Return the figures as one line."""
        return (
            f"{self.first} of {self.queries} first, "
            f"{self.ingested} of {self.submitted} images ingested in "
            f"{self.ingest_seconds:.1f} s ({self.images_per_second:.1f} images/s), "
            f"median search {self.median_milliseconds:.0f} ms"
        )


def create_products(client: SnapskuClient, collection: str, manifest: Manifest) -> int:
    """Create every product of the manifest, and return their count.

    Raises FlowError if one was refused.
    """
    products = manifest.products()
    answer = client.create_product(collection, products)
    if answer["failed_list"] or len(answer["successful_list"]) != len(products):
        raise FlowError(f"products were refused: {answer['failed_list']}")
    return len(products)


def submission(image: SampleImage, content: str) -> dict[str, str]:
    """Return an item of an image_list."""
    return {
        "product_id": image.product_id,
        "image_id": image.image_id,
        "image_info": image.image_info,
        "image_content": content,
    }


def ingest(
    client: SnapskuClient,
    collection: str,
    images: Sequence[SampleImage],
    file_url: str,
    progress: Progress,
    *,
    seconds: float = INGEST_SECONDS,
) -> Ingest:
    """Submit every second image as a URL under `file_url`, the others as Base64; poll both tasks.

    Without a `file_url` all are Base64. Raises FlowError if the tasks do not finish within
    `seconds`, or lack outcomes.
    """

    def submitted(place: int, image: SampleImage) -> dict[str, str]:
        if file_url and place % 2 == 0:
            return submission(image, f"{file_url}/{image.path.name}")
        return submission(image, base64.b64encode(image.path.read_bytes()).decode("ascii"))

    image_list = [submitted(place, image) for place, image in enumerate(images)]
    started = time.monotonic()
    failures: list[tuple[str, str]] = []
    tasks: list[str] = []
    for half in (image_list[::2], image_list[1::2]):
        answer = client.add_image(collection, half)
        tasks.append(answer["task_id"])
        failures += [(row["image_id"], ", ".join(row["message"])) for row in answer["failed_list"]]
    while True:
        states = [client.task_status(task) for task in tasks]
        failed = [row for state in states for row in state["failed_list"]]
        succeeded = sum(len(state["succeeded_list"]) for state in states)
        progress(succeeded, len(failures) + len(failed))
        if all(state["task_status"] == "FINISHED" for state in states):
            break
        if time.monotonic() - started > seconds:
            raise FlowError(f"the tasks were not finished after {seconds:g} s")
        time.sleep(POLL_SECONDS)
    failures += [(row["image_id"], row["message"]) for row in failed]
    if succeeded + len(failures) != len(images):
        raise FlowError(f"{succeeded} + {len(failures)} outcomes for {len(images)} images")
    return Ingest(len(images), tuple(failures), time.monotonic() - started)


def products_found(images: Iterable[dict[str, object]]) -> list[Hit]:
    """Return the products of a search's images in order, each once with its best image."""
    hits: dict[str, Hit] = {}
    for row in images:
        product_id = str(row["product_id"])
        if product_id not in hits:
            hits[product_id] = Hit(
                product_id=product_id,
                product_name=str(row["product_name"]),
                image_id=str(row["image_id"]),
                similarity=float(str(row["similarity"])),
            )
    return list(hits.values())


def search(client: SnapskuClient, collection: str, query: Query, expected_name: str) -> Outcome:
    """Search with a query as Base64, and return the rank of the expected product.

    A search that fails is returned as an outcome with an error, so that the others are shown.
    """
    content = base64.b64encode(query.content).decode("ascii")
    started = time.monotonic()
    try:
        answer = client.product_search(collection, content, topk=TOPK)
    except (SnapskuError, requests.RequestException) as error:
        spent = (time.monotonic() - started) * 1000
        return Outcome(query, expected_name, None, None, None, None, spent, str(error))
    spent = (time.monotonic() - started) * 1000
    hits = products_found(answer["images"])
    rank = next(
        (place for place, hit in enumerate(hits, 1) if hit.product_id == query.product_id), None
    )
    box = answer["rectangle"][0] if answer["rectangle"] else None
    return Outcome(
        query=query,
        expected_name=expected_name,
        rank=rank,
        similarity=hits[rank - 1].similarity if rank else None,
        first=hits[0] if hits else None,
        box=(box["left"], box["top"], box["right"], box["bottom"]) if box else None,
        milliseconds=spent,
    )


def summarise(ingested: Ingest, outcomes: Sequence[Outcome]) -> Summary:
    """Return the figures of a run; the median is that of the answered searches."""
    answered = [outcome.milliseconds for outcome in outcomes if not outcome.error]
    return Summary(
        first=sum(outcome.rank == 1 for outcome in outcomes),
        queries=len(outcomes),
        ingested=ingested.submitted - len(ingested.failures),
        submitted=ingested.submitted,
        ingest_seconds=ingested.seconds,
        images_per_second=ingested.images_per_second,
        median_milliseconds=statistics.median(answered) if answered else 0.0,
    )
