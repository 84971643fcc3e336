"""What a search answers: the order, the filter, the number, the box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.e2e.client import Api, as_base64, ids
from tests.e2e.stack import Stack
from tools.demo.manifest import SampleImage, load

MANIFEST = load()


def _balanced(count: int) -> list[SampleImage]:
    """Samples of every category, `count` of each."""
    taken: Counter[str] = Counter()
    chosen = []
    for sample in MANIFEST.images:
        if taken[sample.category] < count:
            taken[sample.category] += 1
            chosen.append(sample)
    assert set(taken) == {"服装", "鞋靴", "其他"}
    return chosen


SAMPLES = _balanced(7)
CATEGORIES = sorted({sample.category for sample in SAMPLES})


@pytest.fixture(scope="module")
def catalogue(stack: Stack, shared_collection: str) -> Iterator[str]:
    """A collection with pictures of every category."""
    client = Api(stack.base_url)
    client.create(shared_collection, SAMPLES)
    status = client.finish(client.add_samples(shared_collection, SAMPLES))
    assert len(status["succeeded_list"]) == len(SAMPLES)
    yield shared_collection
    client.close()


def test_the_same_picture_comes_first_with_a_similarity_of_nearly_1(
    api: Api, catalogue: str
) -> None:
    for sample in SAMPLES:
        images = api.search(catalogue, sample.path)
        assert images[0]["image_id"] == sample.image_id
        assert images[0]["product_id"] == sample.product_id
        assert images[0]["product_name"] == sample.product_name
        assert images[0]["similarity"] >= 0.999
        similarities = [image["similarity"] for image in images]
        assert similarities == sorted(similarities, reverse=True)
        assert len(images) == len(SAMPLES)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_category_answers_all_of_its_images_and_no_other(
    api: Api, catalogue: str, category: str
) -> None:
    own = {sample.image_id for sample in SAMPLES if sample.category == category}
    for sample in SAMPLES[::6]:
        assert set(ids(api.search(catalogue, sample.path, category=category))) == own


@pytest.mark.parametrize("topk", [1, 2, 7, 200])
def test_topk_answers_that_many_of_the_best(api: Api, catalogue: str, topk: int) -> None:
    everything = ids(api.search(catalogue, SAMPLES[3].path))
    assert ids(api.search(catalogue, SAMPLES[3].path, topk=topk)) == everything[:topk]


def test_every_box_lies_inside_the_picture(api: Api, catalogue: str) -> None:
    for sample in SAMPLES[::3]:
        with Image.open(sample.path) as picture:
            width, height = picture.size
        result = api.ok(
            "product_search", collection_name=catalogue, image_content=as_base64(sample.path)
        )
        assert result["rectangle"]
        for box in result["rectangle"]:
            assert set(box) == {"left", "top", "right", "bottom"}
            assert all(isinstance(value, int) for value in box.values())
            assert 0 <= box["left"] < box["right"] <= width
            assert 0 <= box["top"] < box["bottom"] <= height


def test_a_query_may_be_a_url(api: Api, catalogue: str, file_server: str) -> None:
    sample = SAMPLES[4]
    by_url = api.ok(
        "product_search",
        collection_name=catalogue,
        image_content=f"{file_server}/{sample.path.name}",
    )
    by_base64 = api.ok(
        "product_search", collection_name=catalogue, image_content=as_base64(sample.path)
    )
    assert by_url == by_base64
    assert by_url["images"][0]["image_id"] == sample.image_id


def test_a_query_by_a_url_without_a_picture_is_told_so(
    api: Api, catalogue: str, file_server: str
) -> None:
    result = api.call(
        "product_search",
        collection_name=catalogue,
        image_content=f"{file_server}/missing.jpg",
    )
    assert (result["code"], result["message"]) == (2006, "BROKEN_BASE64_OR_URL")


def test_a_collection_answers_only_its_own_images(
    api: Api, catalogue: str, collection: str
) -> None:
    api.create(collection, SAMPLES[:1])
    api.finish(api.add_samples(collection, SAMPLES[:1]))
    assert ids(api.search(collection, SAMPLES[5].path)) == [SAMPLES[0].image_id]
    assert len(api.search(catalogue, SAMPLES[0].path)) == len(SAMPLES)
