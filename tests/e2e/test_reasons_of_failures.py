"""A task of 200 images, 20 of which fail: task_status alone tells a person what to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

import pytest

from config.embedded import free_port
from tests.e2e.client import FINISH_SECONDS, Api, ids
from tests.e2e.faulty_pictures import LIMIT_BYTES, gif, padded, resized, truncated
from tests.e2e.many_pictures import variant
from tests.loopback_host import Answer, gives, host
from tools.demo.manifest import load

SOURCE = load().images[1].path
GOOD, BAD = 180, 20
DOWN = "127.0.0.1 failed several times in a row and is left alone for now"


class Reason(NamedTuple):
    """What task_status must say of an image."""

    message: str
    stage: str
    retryable: bool
    detail: str


def url_faults() -> dict[str, tuple[Answer, Reason]]:
    """Return what a host answers for each bad image, and what is told of it."""
    host_fault = "BROKEN_BASE64_OR_URL"
    small = resized(SOURCE, 200, 200)
    return {
        "gone": (
            gives(404),
            Reason(host_fault, "fetch", False, "127.0.0.1 answers with status 404"),
        ),
        "forbidden": (
            gives(403),
            Reason(host_fault, "fetch", False, "127.0.0.1 answers with status 403"),
        ),
        "leads-inside": (
            gives(302, Location="http://10.0.0.1/x.jpg"),
            Reason(
                host_fault,
                "fetch",
                False,
                "127.0.0.1 redirects to a URL that can't be fetched: "
                "10.0.0.1 is not a host to fetch from",
            ),
        ),
        "cut-off": (
            gives(200, truncated(SOURCE), length=100_000),
            Reason(
                host_fault,
                "fetch",
                True,
                "127.0.0.1 could not be reached, or broke the connection",
            ),
        ),
        "too-heavy": (
            gives(200, padded(SOURCE, LIMIT_BYTES)),
            Reason(
                "IMAGE_SIZE_EXCEED_LIMIT",
                "fetch",
                False,
                f"the file has {LIMIT_BYTES} bytes or more",
            ),
        ),
        "page": (
            gives(200, b"<!doctype html>"),
            Reason("NOT_SUPPORT_IMAGE", "vision", False, "the file is none of JPEG, PNG"),
        ),
        "gif": (
            gives(200, gif(SOURCE)),
            Reason("NOT_SUPPORT_IMAGE", "vision", False, "the file is none of JPEG, PNG"),
        ),
        "damaged": (
            gives(200, truncated(SOURCE)),
            Reason("INVALID_IMAGE_CONTENT", "vision", False, "the file is damaged or cut off"),
        ),
        "small": (
            gives(200, small),
            Reason(
                "IMAGE_TOO_SMALL",
                "vision",
                False,
                "the picture has 200 x 200 pixels, a side needs 201",
            ),
        ),
        "large": (
            gives(200, resized(SOURCE, 4097, 300)),
            Reason(
                "IMAGE_TOO_LARGE",
                "vision",
                False,
                "the picture has 4097 x 300 pixels, a side may have 4096",
            ),
        ),
        "empty": (
            gives(200),
            Reason("INVALID_IMAGE_CONTENT", "vision", False, "the file is empty"),
        ),
        "twice": (
            gives(200, variant(0)),
            Reason(
                "DUPLICATE_IMAGE", "vision", False, "the product has an image with the same bytes"
            ),
        ),
    }


@pytest.fixture(scope="module")
def over() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.timeout(600)
def test_what_a_client_prints_of_a_task_tells_what_happened_where_and_whether_to_repeat(
    api: Api, collection: str, over: threading.Event
) -> None:
    faults = url_faults()
    api.ok(
        "create_product",
        collection_name=collection,
        product_list=[
            {"product_id": f"p{n}", "product_name": "P", "category": "其他"} for n in range(10)
        ],
    )

    def answer(path: str) -> Answer:
        kind, _, number = path.partition("/")
        return gives(200, variant(int(number))) if kind == "good" else faults[kind][0]

    def hang(_: BaseHTTPRequestHandler) -> None:
        over.wait(300)

    with host(answer) as shop, host(lambda _: hang) as slow, host(lambda _: gives(503)) as busy:
        urls = {f"good-{n}": f"{shop}/good/{n}" for n in range(GOOD)}
        urls |= {name: f"{shop}/{name}" for name in faults}
        urls |= {f"slow-{n}": f"{slow}/{n}" for n in range(3)}
        urls |= {f"busy-{n}": f"{busy}/{n}" for n in range(4)}
        urls["closed"] = f"http://127.0.0.1:{free_port()}/x.jpg"
        assert len(urls) == GOOD + BAD
        started = time.monotonic()
        task_id = api.add(
            collection,
            [
                {"product_id": product(name), "image_id": name, "image_content": url}
                for name, url in urls.items()
            ],
        )
        waited_for: dict[str, set[str]] = {}
        good_after = 0.0
        while (status := api.ok("task_status", task_id=task_id))["task_status"] == "PROCESSING":
            elapsed = time.monotonic() - started
            assert elapsed < FINISH_SECONDS, status
            for one in status["pending_list"]:
                if one["next_try_at"] is not None:
                    kind = one["image_id"].partition("-")[0]
                    waited_for.setdefault(kind, set()).add(one["detail"])
            if not good_after and len(status["succeeded_list"]) == GOOD:
                good_after = elapsed
            time.sleep(0.2)
        ended_after = time.monotonic() - started
        good_after = good_after or ended_after
    print(f"\n{GOOD} in after {good_after:.1f} s, the task ended after {ended_after:.1f} s")
    for one in status["failed_list"]:
        again = "try again" if one["retryable"] else "as it is, it will fail again"
        print(f"{one['image_id']:12} {one['stage']:6} {one['message']}: {one['detail']} ({again})")

    assert set(ids(status["succeeded_list"])) == {name for name in urls if "good" in name}
    told = {
        one["image_id"]: Reason(*(one[part] for part in Reason._fields))
        for one in status["failed_list"]
    }
    for name, (_, reason) in faults.items():
        assert told.pop(name) == reason, name
    assert told.pop("closed") == for_now("127.0.0.1 could not be reached, or broke the connection")
    for kind, detail in (
        ("slow", "127.0.0.1 did not send the picture in time"),
        ("busy", "127.0.0.1 answers with status 503, which may pass"),
    ):
        down = f"{DOWN}; the last time: {detail}"
        assert waited_for[kind] <= {detail, down}
        ended = {told.pop(name) for name in list(told) if name.startswith(kind)}
        assert ended
        assert ended <= {for_now(detail), for_now(down)}
    assert told == {}


def product(image_id: str) -> str:
    """Return the product of an image; the same bytes again are a fault within one alone."""
    kind, _, number = image_id.partition("-")
    if kind == "good":
        return f"p{int(number) % 9}"
    return "p0" if kind == "twice" else "p9"


def for_now(detail: str) -> Reason:
    return Reason("BROKEN_BASE64_OR_URL", "fetch", True, detail)
