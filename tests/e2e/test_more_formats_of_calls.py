"""A stack that takes every format and large sides: one picture of each, in and found again."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import requests
from PIL import Image

from contract import errors
from tests.e2e.client import Api, as_base64, ids
from tests.e2e.stack import Stack, running
from tests.servers import Servers
from tests.unit.vision.picture_files import heic, saved
from tools.demo.manifest import SampleImage, load

SAMPLES = list(load().first_images().values())
#: Of the formats that a Pillow writes.
KINDS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
LARGE = (12_000, 9000)


@pytest.fixture(scope="module")
def open_stack(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory, short_times: dict[str, str]
) -> Iterator[Stack]:
    stack = Stack(
        tmp_path_factory.mktemp("formats"),
        tmp_path_factory.mktemp("formats-logs"),
        mongo_url=servers.mongo_url,
        redis_url=servers.redis_url.replace("/0", "/8"),
        mongo_database="snapsku_formats",
        picture_formats="jpeg,png,webp,avif,bmp,gif,tiff,heic",
        image_max_side="12000",
        **short_times,
    )
    with running(stack, without="flower"):
        yield stack


@pytest.fixture
def api(open_stack: Stack) -> Iterator[Api]:
    client = Api(open_stack.base_url)
    yield client
    client.close()


def _file(sample: SampleImage, kind: str) -> bytes:
    with Image.open(sample.path) as image:
        return saved(image.convert("RGB").resize((400, 300)), kind)


def _enlarged(sample: SampleImage) -> bytes:
    with Image.open(sample.path) as image:
        return saved(image.convert("RGB").resize(LARGE), "JPEG", quality=20)


def _white(sample: SampleImage) -> bytes:
    """The outline of a sample's object in white, on transparency."""
    with Image.open(sample.path) as image:
        grey = image.convert("L").resize((400, 400))
    alpha = grey.point([255 if level < 200 else 0 for level in range(256)])
    white = Image.new("RGBA", grey.size, "white")
    white.putalpha(alpha)
    return saved(white)


def test_each_format_a_large_picture_and_white_goods_are_found_again(
    api: Api, collection: str
) -> None:
    files = {kind: _file(SAMPLES[n], kind) for n, kind in enumerate(KINDS)}
    files |= {"HEIC": heic("cutout"), "large": _enlarged(SAMPLES[8])}
    files |= {f"white {n}": _white(SAMPLES[n]) for n in (10, 11)}
    blank = {
        "white": saved(Image.new("RGB", (300, 300), "white")),
        "clear": saved(Image.new("RGBA", (300, 300), (9, 99, 200, 0))),
    }
    api.create(collection, SAMPLES[:1])
    names = {"product_id": SAMPLES[0].product_id}
    contents = {name: as_base64(data) for name, data in (files | blank).items()}
    status = api.finish(
        api.add(
            collection,
            [{**names, "image_id": name, "image_content": text} for name, text in contents.items()],
        )
    )
    assert sorted(ids(status["succeeded_list"])) == sorted(files)
    faults = {image["image_id"]: image["message"] for image in status["failed_list"]}
    assert faults == dict.fromkeys(blank, "NO_AVAILABLE_FEATURE")
    for name, data in files.items():
        first = api.search(collection, data)[0]
        assert (first["image_id"], first["similarity"] > 0.999) == (name, True)
        kept = requests.get(
            f"{api.base_url}/v1/picture",
            params={"collection_name": collection, **names, "image_id": name},
            timeout=10,
        )
        with Image.open(io.BytesIO(kept.content)) as picture:
            assert (picture.format, max(picture.size) <= 640) == ("JPEG", True)
    for data in blank.values():
        result = api.call(
            "product_search", collection_name=collection, image_content=as_base64(data)
        )
        assert result["code"] == errors.NoMatchedProduct.code
    found = api.ok(
        "product_search", collection_name=collection, image_content=as_base64(files["large"])
    )
    assert all(
        0 <= box["left"] < box["right"] <= LARGE[0] and 0 <= box["top"] < box["bottom"] <= LARGE[1]
        for box in found["rectangle"]
    )
    assert max(box["right"] for box in found["rectangle"]) > 4096, "boxes of the scaled picture"
