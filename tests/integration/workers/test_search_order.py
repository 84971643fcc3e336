"""The order of what a search answers: by all parts, by geometry, or by the cosine alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catalog.store import Catalog
from config.settings import settings
from tests.integration.workers.any_feature import TwoParts, png, succeed
from tests.unit.vision.textured import package, view
from workers import search as search_stage
from workers.support import geometry, ranking

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def packages(catalog: Catalog, take: Any) -> Any:
    """Four images of packages with their local features, and one without any."""
    taken = take("0", "1", "2", "3", "none")
    labels = succeed(catalog, taken)
    catalog.local_features.put(
        {label: geometry.stored_features(package(n)) for n, label in enumerate(labels[:4])}
    )
    return taken


def near_to(packages: Any, *cosines: float) -> list[tuple[int, float]]:
    return list(zip(packages.labels, cosines, strict=True))


def test_an_image_whose_geometry_agrees_overtakes_nearer_ones(packages: Any, ask: Ask) -> None:
    near = near_to(packages, 0.9, 0.8, 0.7, 0.65, 0.6)
    known = {"generation": packages.collection.generation, "picture": png(view(package(2), 9, 1))}
    found = ask(near, **known)["images"]
    assert [image["image_id"] for image in found] == ["2", "0", "1", "3", "none"]
    assert [image["cosine"] for image in found] == [0.7, 0.9, 0.8, 0.65, 0.6]
    assert found[0]["inliers"] >= 20
    assert found[0]["cosine"] < found[0]["similarity"] <= 1
    similarities = [image["similarity"] for image in found]
    assert similarities == sorted(similarities, reverse=True)
    assert found[-1]["inliers"] == 0, "it has no local features"
    assert found[-1]["similarity"] == 0.6
    first = ask(near, **known, topk=1)["images"]
    assert first == found[:1], "images beyond topk rise into it"
    (grouped,) = ask(near, **known, group_by_product=True)["images"]
    assert grouped == found[0], "a product counts by its best image in the new order"


def test_the_least_similarity_is_that_of_the_cosine_whatever_the_geometry(
    packages: Any, ask: Ask
) -> None:
    near = near_to(packages, 0.9, 0.8, 0.7, 0.65, 0.6)
    known = {"generation": packages.collection.generation, "picture": png(package(2))}
    found = ask(near, **known, min_similarity=0.71)["images"]
    assert [image["image_id"] for image in found] == ["0", "1"]
    found = ask(near, **known, min_similarity=0.7)["images"]
    assert [image["image_id"] for image in found] == ["2", "0", "1"]


def test_only_what_is_in_a_given_box_is_compared(packages: Any, ask: Ask) -> None:
    both = Image.new("RGB", (800, 480))
    both.paste(package(1), (0, 0))
    both.paste(package(3), (400, 0))
    near = near_to(packages, 0.9, 0.8, 0.7, 0.65, 0.6)
    known = {"generation": packages.collection.generation, "picture": png(both)}
    for number, box in ((1, (0, 0, 400, 480)), (3, (400, 0, 800, 480))):
        found = ask(near, **known, box=box)["images"]
        by_name = {image["image_id"]: image["inliers"] for image in found}
        assert found[0]["image_id"] == str(number)
        assert by_name[str(number)] >= 20 > by_name[str(4 - number)]


def test_the_same_picture_has_a_similarity_of_nearly_1_and_none_is_above(
    packages: Any, ask: Ask
) -> None:
    near = near_to(packages, 1.0000001, 0.3, 0.2, 0.1, -0.1)
    known = {"generation": packages.collection.generation, "picture": png(package(0))}
    similarities = [image["similarity"] for image in ask(near, **known)["images"]]
    assert similarities == sorted(similarities, reverse=True)
    assert 0.999 <= similarities[0] <= 1


def test_damaged_local_features_are_none_and_the_others_still_count(
    catalog: Catalog, packages: Any, ask: Ask
) -> None:
    damaged = packages.labels[2]
    data = catalog.local_features.get([damaged])[damaged]
    catalog.local_features.remove([damaged])
    catalog.local_features.put({damaged: data[:-1]})
    near = near_to(packages, 0.9, 0.8, 0.7, 0.65, 0.6)
    generation = packages.collection.generation
    found = ask(near, generation=generation, picture=png(package(2)))["images"]
    assert (found[0]["image_id"], found[0]["similarity"]) == ("0", 0.9)
    found = ask(near, generation=generation, picture=png(package(3)))["images"]
    assert found[0]["image_id"] == "3"


@pytest.mark.parametrize("why", ["the setting is off", "the asker waits no longer"])
def test_without_geometry_the_cosines_decide(
    packages: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "the setting is off":
        chosen = settings().model_copy(update={"geometry": False})
        for module in (search_stage, ranking):
            monkeypatch.setattr(module, "settings", lambda: chosen)
    else:
        monkeypatch.setattr(ranking, "SPARE_SECONDS", 60.0)
    cosines = [0.9, 0.8, 0.7, 0.65, 0.6]
    near = near_to(packages, *cosines)
    generation = packages.collection.generation
    found = ask(near, generation=generation, picture=png(package(2)))["images"]
    assert [image["similarity"] for image in found] == cosines
    assert [image["cosine"] for image in found] == cosines
    assert {image["inliers"] for image in found} == {0}


def test_images_behind_the_first_keep_their_places(catalog: Catalog, take: Any, ask: Ask) -> None:
    taken = take(*(f"image-{n}" for n in range(ranking.CANDIDATES + 5)))
    labels = succeed(catalog, taken)
    catalog.local_features.put(dict.fromkeys(labels, geometry.stored_features(package(1))))
    near = list(zip(labels, np.linspace(0.9, 0.1, len(labels)).tolist(), strict=True))
    found = ask(near, generation=taken.collection.generation, picture=png(package(1)), topk=60)
    inliers = [image["inliers"] for image in found["images"]]
    assert min(inliers[: ranking.CANDIDATES]) >= 20
    assert inliers[ranking.CANDIDATES :] == [0] * 5
    assert [image["image_id"] for image in found["images"]] == [f"image-{n}" for n in range(55)]


@pytest.fixture
def with_parts(
    catalog: Catalog, take: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, Any]]]:
    """Ask for images whose vectors are given by name; without cosines the index finds all alike."""
    monkeypatch.setattr(search_stage, "pipeline", TwoParts)

    def asked(cosines: Any = (), **vectors: Any) -> list[dict[str, Any]]:
        taken = take(*vectors)
        labels = succeed(catalog, taken)
        rows = [np.array(one, np.float32) for one in vectors.values()]
        catalog.vectors.put("any", dict(zip(labels, rows, strict=True)))
        catalog.local_features.put(dict.fromkeys(labels, geometry.stored_features(package(1))))
        near = list(zip(labels, cosines or [0.5] * len(labels), strict=True))
        answer = ask(near, generation=taken.collection.generation, topk=9)
        images: list[dict[str, Any]] = answer["images"]
        similarities = [image["similarity"] for image in images]
        assert similarities == sorted(similarities, reverse=True)
        return images

    return asked


def test_the_cosines_decide_if_no_image_has_local_features(
    catalog: Catalog, take: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_stage, "pipeline", TwoParts)
    taken = take("a", "b")
    labels = succeed(catalog, taken)
    rows = [np.array(one, np.float32) for one in ([[0, 0, 1]], [[1, 0, 0]])]
    catalog.vectors.put("any", dict(zip(labels, rows, strict=True)))
    near = list(zip(labels, [0.9, 0.8], strict=True))
    found = ask(near, generation=taken.collection.generation)["images"]
    assert [image["similarity"] for image in found] == [0.9, 0.8]


def test_images_are_in_the_order_of_all_of_their_parts(
    with_parts: Callable[..., list[dict[str, Any]]],
) -> None:
    images = with_parts(
        box_alone=[[0.9, 0, 0.1], [0, 0, 1]],
        ground_alone=[[0, 0, 1], [0, 0.9, 0.1]],
        both=[[0.9, 0, 0.1], [0, 0.9, 0.1]],
    )
    assert [image["image_id"] for image in images] == ["both", "box_alone", "ground_alone"]


def test_an_image_whose_vectors_can_not_be_read_keeps_its_cosine(
    with_parts: Callable[..., list[dict[str, Any]]],
) -> None:
    images = with_parts(
        whole=[[0, 0.4, 0]], short=[[1, 0]], odd=[[np.nan, 0, 0]], far=[[0.1, 0, 0]]
    )
    assert [image["image_id"] for image in images] == ["short", "odd", "whole", "far"]


def test_no_similarity_lies_below_the_cosine_though_others_come_first(
    with_parts: Callable[..., list[dict[str, Any]]],
) -> None:
    both, ground = [[0.9, 0, 0.1], [0, 0.9, 0.1]], [[0, 0, 1], [0, 0.9, 0.1]]
    first, second = with_parts(cosines=[0.95, 0.8], ground=ground, both=both)
    assert (first["image_id"], second["image_id"]) == ("both", "ground")
    assert (first["cosine"], second["cosine"]) == (0.8, 0.95)
    assert first["similarity"] == second["similarity"] == 0.95


def test_images_that_are_not_compared_come_last(
    with_parts: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "NEIGHBOURS", 2)
    same = [[1, 0, 0], [0, 1, 0]]
    images = with_parts(one=[[0, 0, 1]], other=[[0, 0.5, 0]], same=same, also=same)
    assert [image["image_id"] for image in images] == ["other", "one", "same", "also"]
