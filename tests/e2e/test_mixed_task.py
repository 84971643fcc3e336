"""Good and bad pictures mixed in one call: each ends in one place, with its reason."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.embedded import free_port
from tests.e2e.client import Api, as_base64, ids
from tests.e2e.faulty_pictures import (
    LIMIT_BYTES,
    gif,
    padded,
    resized,
    transparent,
    truncated,
    turned_by_exif,
)
from tests.e2e.stack import Stack
from tools.demo.fileserver import serve
from tools.demo.manifest import SampleImage, load

MANIFEST = load()
SOURCE = MANIFEST.images[1].path
PRODUCT = "mixed"
OTHER_PRODUCT = "mixed-2"

SUCCESS = "SUCCEEDED"


@dataclass(frozen=True)
class Case:
    """An image of the call: what it carries, and how it must end."""

    content: object
    expected: str
    at_once: bool = False  #: refused by the answer of add_image itself
    product_id: str = PRODUCT


@pytest.fixture(scope="module")
def turned() -> tuple[bytes, bytes, tuple[int, int]]:
    return turned_by_exif(MANIFEST.images[5].path)


@pytest.fixture(scope="module")
def clear() -> tuple[bytes, bytes]:
    return transparent(next(iter(MANIFEST.cutouts.values())))


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory,
    turned: tuple[bytes, bytes, tuple[int, int]],
    clear: tuple[bytes, bytes],
) -> Iterator[str]:
    """A file server with pictures of every fault."""
    folder = tmp_path_factory.mktemp("faulty")
    contents = {
        "page.html": b"<!doctype html><title>no picture</title>",
        "animation.gif": gif(SOURCE),
        "named-wrongly.jpg": gif(MANIFEST.images[4].path),
        "truncated.jpg": truncated(SOURCE),
        "small.jpg": resized(SOURCE, 200, 200),
        "smallest.jpg": resized(SOURCE, 201, 201),
        "large.jpg": resized(SOURCE, 4097, 300),
        "largest.jpg": resized(SOURCE, 4096, 300),
        "heavy.jpg": padded(SOURCE, LIMIT_BYTES),
        "heaviest.jpg": padded(SOURCE, LIMIT_BYTES - 1),
        "turned.jpg": turned[0],
        "clear.png": clear[0],
        "empty.jpg": b"",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    for image in (*_good("JPEG"), *_good("PNG")):
        shutil.copy(image.path, folder)
    with serve(folder) as port:
        yield f"http://127.0.0.1:{port}"


def _good(kind: str) -> list[SampleImage]:
    suffix = {"JPEG": ".jpg", "PNG": ".png"}[kind]
    return [image for image in MANIFEST.images if image.path.suffix == suffix][2:4]


def _cases(files: str) -> dict[str, Case]:
    jpeg, jpeg_again = _good("JPEG")
    png, png_again = _good("PNG")
    noise = random.Random(1).randbytes(3000)
    return {
        "jpeg by url": Case(f"{files}/{jpeg.path.name}", SUCCESS),
        "png by url": Case(f"{files}/{png.path.name}", SUCCESS),
        "jpeg by base64": Case(as_base64(jpeg_again.path), SUCCESS),
        "png by base64": Case(f"data:image/png;base64,{as_base64(png_again.path)}", SUCCESS),
        "turned": Case(f"{files}/turned.jpg", SUCCESS),
        "transparent": Case(f"{files}/clear.png", SUCCESS),
        "smallest": Case(f"{files}/smallest.jpg", SUCCESS),
        "largest": Case(f"{files}/largest.jpg", SUCCESS),
        "heaviest": Case(f"{files}/heaviest.jpg", SUCCESS),
        "same bytes": Case(f"{files}/{jpeg.path.name}", "DUPLICATE_IMAGE"),
        "same bytes, other way": Case(as_base64(jpeg_again.path), "DUPLICATE_IMAGE"),
        "same bytes, other product": Case(
            f"{files}/{jpeg.path.name}", SUCCESS, product_id=OTHER_PRODUCT
        ),
        "not found": Case(f"{files}/missing.jpg", "BROKEN_BASE64_OR_URL"),
        "refused": Case(f"http://127.0.0.1:{free_port()}/x.jpg", "BROKEN_BASE64_OR_URL"),
        "page": Case(f"{files}/page.html", "NOT_SUPPORT_IMAGE"),
        "gif": Case(f"{files}/animation.gif", "NOT_SUPPORT_IMAGE"),
        "gif named jpg": Case(f"{files}/named-wrongly.jpg", "NOT_SUPPORT_IMAGE"),
        "truncated": Case(f"{files}/truncated.jpg", "INVALID_IMAGE_CONTENT"),
        "truncated base64": Case(as_base64(truncated(SOURCE)), "INVALID_IMAGE_CONTENT"),
        "too small": Case(f"{files}/small.jpg", "IMAGE_TOO_SMALL"),
        "too large": Case(f"{files}/large.jpg", "IMAGE_TOO_LARGE"),
        "too heavy": Case(f"{files}/heavy.jpg", "IMAGE_SIZE_EXCEED_LIMIT"),
        "empty": Case(f"{files}/empty.jpg", "INVALID_IMAGE_CONTENT"),
        "noise": Case(as_base64(noise), "NOT_SUPPORT_IMAGE", at_once=True),
        "no base64": Case("这不是图片", "BROKEN_BASE64_OR_URL", at_once=True),
        "small base64": Case(as_base64(resized(SOURCE, 200, 200)), "IMAGE_TOO_SMALL", at_once=True),
        "file": Case("file:///etc/passwd", "BROKEN_BASE64_OR_URL", at_once=True),
        "private": Case("http://10.0.0.1/x.jpg", "BROKEN_BASE64_OR_URL", at_once=True),
        "metadata": Case("http://169.254.169.254/x.jpg", "BROKEN_BASE64_OR_URL", at_once=True),
        "no content": Case(None, "INVALID_IMAGE_CONTENT", at_once=True),
        "unknown product": Case(
            f"{files}/{png.path.name}", "NOT_EXISTING_PRODUCT", at_once=True, product_id="nobody"
        ),
    }


@pytest.mark.answers(
    "add_image",
    items=(
        "NOT_SUPPORT_IMAGE",
        "BROKEN_BASE64_OR_URL",
        "IMAGE_TOO_SMALL",
        "INVALID_IMAGE_CONTENT",
        "NOT_EXISTING_PRODUCT",
        "INVALID_PRODUCT_ID",
        "INVALID_IMAGE_ID",
        "REPEAT_IMAGE_NAME_IN_PARAM",
    ),
)
@pytest.mark.answers(
    "task_status",
    items=(
        "DUPLICATE_IMAGE",
        "BROKEN_BASE64_OR_URL",
        "NOT_SUPPORT_IMAGE",
        "INVALID_IMAGE_CONTENT",
        "IMAGE_TOO_SMALL",
        "IMAGE_TOO_LARGE",
        "IMAGE_SIZE_EXCEED_LIMIT",
    ),
)
def test_each_image_of_a_mixed_call_ends_in_one_list_with_its_reason(
    api: Api,
    stack: Stack,
    collection: str,
    files: str,
    turned: tuple[bytes, bytes, tuple[int, int]],
    clear: tuple[bytes, bytes],
) -> None:
    logs = {kind: len(stack.log(kind)) for kind in stack.kinds}
    api.ok(
        "create_product",
        collection_name=collection,
        product_list=[
            {"product_id": product_id, "product_name": "混合", "category": "其他"}
            for product_id in (PRODUCT, OTHER_PRODUCT)
        ],
    )
    cases = _cases(files)
    images = [
        {"product_id": case.product_id, "image_id": name, "image_content": case.content}
        for name, case in cases.items()
    ]
    nameless = {"product_id": PRODUCT, "image_content": images[0]["image_content"]}
    repeated = {**images[0], "image_content": images[1]["image_content"]}
    added = api.ok(
        "add_image",
        collection_name=collection,
        image_list=[*images, nameless, repeated, "no object"],
    )

    refused = [(item["image_id"], item["message"]) for item in added["failed_list"]]
    assert refused == [
        *((name, [case.expected]) for name, case in cases.items() if case.at_once),
        (None, ["INVALID_IMAGE_ID"]),
        (images[0]["image_id"], ["REPEAT_IMAGE_NAME_IN_PARAM"]),
        (None, ["INVALID_PRODUCT_ID", "INVALID_IMAGE_ID", "INVALID_IMAGE_CONTENT"]),
    ]

    status = api.finish(added["task_id"])
    taken = {name: case for name, case in cases.items() if not case.at_once}
    ended = {item["image_id"]: item["message"] for item in status["failed_list"]}
    ended |= dict.fromkeys(ids(status["succeeded_list"]), SUCCESS)
    assert ended == {name: case.expected for name, case in taken.items()}
    assert len(status["failed_list"]) + len(status["succeeded_list"]) == len(taken)
    products = {
        item["image_id"]: item["product_id"]
        for item in status["failed_list"] + status["succeeded_list"]
    }
    assert products == {name: case.product_id for name, case in taken.items()}
    _assert_told_why(status["failed_list"])

    info = api.ok("image_info", collection_name=collection, product_id=PRODUCT)
    assert set(ids(info["image_list"])) == {
        name
        for name, case in taken.items()
        if case.expected == SUCCESS and case.product_id == PRODUCT
    }
    _assert_seen_as_a_viewer_sees_it(api, collection, turned, clear)
    for kind, length in logs.items():
        assert "Traceback" not in stack.log(kind)[length:], kind


def _assert_told_why(failed: list[dict[str, Any]]) -> None:
    """What a person needs: what happened, where, and whether a repeat may help."""
    told = {item["image_id"]: item for item in failed}
    assert told["not found"]["detail"] == "127.0.0.1 answers with status 404"
    assert told["refused"]["detail"] == "127.0.0.1 could not be reached, or broke the connection"
    assert told["page"]["detail"] == "the file is none of JPEG, PNG"
    assert told["too small"]["detail"] == "the picture has 200 x 200 pixels, a side needs 201"
    assert told["too heavy"]["detail"] == f"the file has {LIMIT_BYTES} bytes or more"
    assert {name for name, item in told.items() if item["retryable"]} == {"refused"}
    fetched = {name for name, item in told.items() if item["stage"] == "fetch"}
    assert fetched == {"not found", "refused", "too heavy"}
    assert {item["stage"] for item in failed} == {"fetch", "vision"}
    assert all(item["detail"] and "/" not in item["detail"] for item in failed)


def _assert_seen_as_a_viewer_sees_it(
    api: Api,
    collection: str,
    turned: tuple[bytes, bytes, tuple[int, int]],
    clear: tuple[bytes, bytes],
) -> None:
    lying, upright, (width, height) = turned
    for content in (lying, upright):
        found = api.ok(
            "product_search", collection_name=collection, image_content=as_base64(content)
        )
        assert found["images"][0]["image_id"] == "turned"
        assert found["images"][0]["similarity"] >= 0.999
        for box in found["rectangle"]:
            assert 0 <= box["left"] < box["right"] <= width
            assert 0 <= box["top"] < box["bottom"] <= height
    for content in clear:
        best = api.search(collection, content)[0]
        assert best["image_id"] == "transparent"
        assert best["similarity"] >= 0.999


def test_names_and_bytes_of_failed_images_are_free_again(
    api: Api, collection: str, files: str
) -> None:
    sample = _good("PNG")[0]
    api.create(collection, [sample])
    image = {"product_id": sample.product_id, "image_id": "again"}
    first = api.add(collection, [{**image, "image_content": f"{files}/missing.jpg"}])
    assert ids(api.finish(first)["failed_list"]) == ["again"]
    second = api.add(collection, [{**image, "image_content": f"{files}/{sample.path.name}"}])
    assert ids(api.finish(second)["succeeded_list"]) == ["again"]
    assert ids(api.search(collection, Path(sample.path))) == ["again"]


def test_the_same_broken_bytes_twice_are_told_what_is_broken(
    api: Api, collection: str, files: str
) -> None:
    sample = _good("PNG")[0]
    api.create(collection, [sample])
    task_id = api.add(
        collection,
        [
            {
                "product_id": sample.product_id,
                "image_id": f"broken-{number}",
                "image_content": f"{files}/truncated.jpg",
            }
            for number in range(2)
        ],
    )
    failed = api.finish(task_id)["failed_list"]
    assert [item["message"] for item in failed] == ["INVALID_IMAGE_CONTENT"] * 2
