from __future__ import annotations

import io

import pytest
from PIL import Image

from tools.demo.manifest import load
from tools.demo.queries import Query, make_queries

MANIFEST = load()


@pytest.fixture(scope="module")
def queries() -> list[Query]:
    return make_queries(MANIFEST)


def test_the_same_samples_give_the_same_queries(queries: list[Query]) -> None:
    assert make_queries(MANIFEST) == queries


def test_there_are_at_least_twenty_queries_with_names_of_their_own(queries: list[Query]) -> None:
    assert len(queries) >= 20
    assert len({query.query_id for query in queries}) == len(queries)


def test_every_query_shows_a_product_of_the_manifest_in_all_three_categories(
    queries: list[Query],
) -> None:
    category = {row["product_id"]: row["category"] for row in MANIFEST.products()}
    assert {category[query.product_id] for query in queries} == {"服装", "鞋靴", "其他"}


def test_every_kind_of_change_is_there(queries: list[Query]) -> None:
    words = " ".join(query.description for query in queries)
    for kind in ("gradient", "noise", "clutter", "turned", "cropped", "scaled", "brightness", "40"):
        assert kind in words


def test_every_query_decodes_within_the_contracts_limits(queries: list[Query]) -> None:
    for query in queries:
        with Image.open(io.BytesIO(query.content)) as picture:
            picture.load()
            assert picture.format == "JPEG"
            assert picture.size == (query.width, query.height)
        assert min(query.width, query.height) >= 201
        assert max(query.width, query.height) <= 4096


def test_no_query_is_a_picture_of_the_catalogue(queries: list[Query]) -> None:
    catalogue = {image.path.read_bytes() for image in MANIFEST.images}
    assert not catalogue & {query.content for query in queries}
