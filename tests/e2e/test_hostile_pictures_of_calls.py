"""Hostile pictures through a whole stack: each ends with its code, and the good ones succeed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from contract import errors
from tests.e2e.client import Api, as_base64, ids
from tests.e2e.faulty_pictures import GREEDY_SIZE, resized
from tests.e2e.stack import Stack, replaced
from tests.hostile_pictures import HostilePicture, hostile_pictures
from tools.demo.manifest import load

MANIFEST = load()
GOOD = list(MANIFEST.first_images().values())[:16]
#: Of files in one call, so that its body in Base64 stays under the limit of 8 MiB.
CALL_BYTES = 5_500_000
PER_PRODUCT = 29


@pytest.fixture(scope="module")
def pictures() -> list[HostilePicture]:
    return list(hostile_pictures())


def _message(picture: HostilePicture, of_blank: type[errors.ContractError]) -> str | None:
    fault = of_blank if picture.blank else picture.fault
    return fault.message if fault else None


def _calls(pictures: list[HostilePicture]) -> Iterator[dict[str, HostilePicture]]:
    """Pictures by image_id, so many as fit into a call."""
    call: dict[str, HostilePicture] = {}
    for number, picture in enumerate(pictures):
        size = sum(len(one.data) for one in call.values()) + len(picture.data)
        if call and (size > CALL_BYTES or len(call) == PER_PRODUCT):
            yield call
            call = {}
        call[f"hostile-{number}"] = picture
    yield call


def _children(stack: Stack) -> set[int]:
    """The processes of the vision worker that decode, once there are any."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        children = psutil.Process(stack.processes["vision"].pid).children()
        if children:
            return {one.pid for one in children}
        time.sleep(0.2)
    raise AssertionError(stack.log("vision")[-2000:])


def test_every_hostile_picture_ends_with_its_code_among_good_ones(
    api: Api, stack: Stack, collection: str, pictures: list[HostilePicture]
) -> None:
    calls = list(_calls(pictures))
    assert len(calls) <= 100
    products = [f"product-{number}" for number in range(len(calls))]
    api.ok(
        "create_product",
        collection_name=collection,
        product_list=[{"product_id": p, "product_name": p, "category": "其他"} for p in products],
    )
    children = _children(stack)
    tasks: list[Any] = []
    ended: dict[str, Any] = {}
    for product, call in zip(products, calls, strict=True):
        contents = {name: picture.data for name, picture in call.items()}
        contents[f"good-{product}"] = GOOD[0].path.read_bytes()
        added = api.call(
            "add_image",
            collection_name=collection,
            image_list=[
                {"product_id": product, "image_id": name, "image_content": as_base64(data)}
                for name, data in contents.items()
            ],
        )
        # One reason each, though the list has room for more.
        ended |= {image["image_id"]: ", ".join(image["message"]) for image in added["failed_list"]}
        tasks.append(added["task_id"])
    for task in tasks:
        status = api.finish(task, 60)
        ended |= {image["image_id"]: image["message"] for image in status["failed_list"]}
        ended |= dict.fromkeys(ids(status["succeeded_list"]))
    expected = {
        name: _message(one, errors.NoAvailableFeature)
        for call in calls
        for name, one in call.items()
    }
    expected |= dict.fromkeys(f"good-{product}" for product in products)
    assert ended == expected
    assert _children(stack) == children, "a vision process did not live through it"


def test_every_hostile_query_ends_with_the_same_code(
    api: Api, collection: str, pictures: list[HostilePicture]
) -> None:
    api.create(collection, GOOD[:1])
    api.finish(api.add_samples(collection, GOOD[:1]))
    wrong = {}
    for picture in pictures:
        result = api.call(
            "product_search", collection_name=collection, image_content=as_base64(picture.data)
        )
        if result["message"] != (_message(picture, errors.NoMatchedProduct) or "SUCCESS"):
            wrong[picture.name] = result["message"]
    assert wrong == {}


def test_a_picture_that_wants_too_much_memory_fails_alone(
    api: Api, stack: Stack, collection: str
) -> None:
    api.create(collection, GOOD)
    with replaced(stack, "vision", "greedy_vision"):
        children = _children(stack)
        images = [
            {
                "product_id": sample.product_id,
                "image_id": sample.image_id,
                "image_content": as_base64(
                    resized(sample.path, *GREEDY_SIZE) if number == 7 else sample.path
                ),
            }
            for number, sample in enumerate(GOOD)
        ]
        status = api.finish(api.add(collection, images))
        assert _children(stack) == children, "the worker died of it"
    failed = [(image["image_id"], image["message"]) for image in status["failed_list"]]
    assert failed == [(GOOD[7].image_id, "INVALID_IMAGE_CONTENT")]
    assert len(status["succeeded_list"]) == len(GOOD) - 1
