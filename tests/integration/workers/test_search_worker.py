"""What a search answers from what the index finds: only what is alive, and enough of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from broker.search_exchange import Query
from catalog.flows.removal import delete_collection, delete_images, delete_product
from catalog.rows.products import ProductFields
from catalog.store import Catalog
from config.settings import settings
from contract.errors import BY_MESSAGE
from tests.integration.workers.any_feature import AnyFeature, TwoParts, picture, png
from tests.unit.vision.textured import package, view
from vision.picture import PictureLimits, decode
from workers import search as search_stage
from workers.index_process.neighbours import NoReplyError
from workers.support import geometry, ranking
from workers.support.resources import exchange

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(catalog: Catalog, redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask the search worker, with an index that knows `near` as (label, similarity)."""
    monkeypatch.setattr(search_stage, "pipeline", AnyFeature)

    def asked(near: list[tuple[int, float]] | Exception, **fields: Any) -> dict[str, Any]:
        def ask_neighbours(*_: Any, k: int, **__: Any) -> list[tuple[int, float]]:
            if isinstance(near, Exception):
                raise near
            return near[:k]

        monkeypatch.setattr(search_stage, "ask_neighbours", ask_neighbours)
        query = Query(
            **{
                "picture": picture(),
                "url": None,
                "generation": "1",
                "category": None,
                "topk": 5,
                "box": None,
                "min_similarity": -1.0,
                "group_by_product": False,
                "request_id": "test",
            }
            | fields
        )
        exchange().leave("query", query.pack(), 5)
        search_stage.search("query")
        answer = exchange().wait("query", 1)
        assert answer is not None
        return answer

    return asked


def succeed(catalog: Catalog, taken: Any) -> list[int]:
    labels: list[int] = taken.labels
    catalog.images.succeed(labels)
    return labels


def test_deleted_images_never_shorten_the_list(catalog: Catalog, take: Any, ask: Ask) -> None:
    taken = take(*(f"image-{n}" for n in range(60)))
    labels = succeed(catalog, taken)
    delete_images(catalog, labels[:50])
    near = [(label, 1 - n / 100) for n, label in enumerate(labels)]
    answer = ask(near, generation=taken.collection.generation)
    assert [image["image_id"] for image in answer["images"]] == [
        f"image-{n}" for n in range(50, 55)
    ]
    similarities = [image["similarity"] for image in answer["images"]]
    assert similarities == sorted(similarities, reverse=True)
    assert answer["rectangle"] == [{"left": 0, "top": 0, "right": 220, "bottom": 230}]


def fault_of(answer: dict[str, Any]) -> str:
    """The fault that is answered, beside its detail and nothing else."""
    assert set(answer) == {"fault", "detail"}, answer
    return str(answer["fault"])


def test_a_search_under_way_answers_nothing_of_a_collection_whose_deletion_was_answered(
    catalog: Catalog, take: Any, ask: Ask
) -> None:
    taken = take("a")
    (label,) = succeed(catalog, taken)
    generation = taken.collection.generation
    assert "images" in ask([(label, 1.0)], generation=generation)
    delete_collection(catalog, taken.collection)
    assert catalog.images.find([label])[label].is_findable, "its rows go later"
    assert fault_of(ask([(label, 1.0)], generation=generation)) == "NO_RELATIVE_COLLECTION"
    again = take("a")
    assert again.collection.generation != generation
    assert fault_of(ask([(label, 1.0)], generation=generation)) == "NO_RELATIVE_COLLECTION"


def test_a_search_under_way_answers_nothing_of_a_product_whose_deletion_was_answered(
    catalog: Catalog, take: Any, ask: Ask
) -> None:
    taken = take("a")
    (label,) = succeed(catalog, taken)
    (product,) = catalog.products.find(taken.collection.generation, ["shoe"]).values()
    catalog.products.begin_deletion([product])
    delete_product(catalog, product)
    answer = ask([(label, 1.0)], generation=taken.collection.generation)
    assert fault_of(answer) == "NO_MATCHED_PRODUCT"


def test_boxes_of_a_picture_that_was_scaled_down_are_those_of_the_original(
    catalog: Catalog, take: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.linear_gradient("L").resize((9001, 6001)).save(file, "JPEG", exif=exif)
    large = PictureLimits(0, min_side=1, max_side=0)
    monkeypatch.setattr(search_stage, "decode_picture", lambda data: decode(data, large))
    taken = take("a")
    (label,) = succeed(catalog, taken)
    known = {"generation": taken.collection.generation, "picture": file.getvalue()}
    near = [(label, 1.0)]
    assert ask(near, **known)["rectangle"] == [{"left": 0, "top": 0, "right": 6001, "bottom": 9001}]
    (box,) = ask(near, **known, box=(400, 800, 6001, 9001))["rectangle"]
    assert (box["right"], box["bottom"]) == (6001, 9001)
    assert 396 <= box["left"] <= 400
    assert 796 <= box["top"] <= 800
    refused = ask(near, **known, box=(0, 0, 6002, 9001))
    assert refused["fault"] == "INVALID_PARAMETER_JSON"
    assert refused["detail"] == "rectangle exceeds the picture, which has 6001 x 9001 pixels"


def test_an_image_that_is_not_done_or_of_another_collection_is_not_answered(
    catalog: Catalog, take: Any, ask: Ask
) -> None:
    pending = take("pending")
    done = take("done")
    succeed(catalog, done)
    generation = done.collection.generation
    near = [(pending.labels[0], 0.9), (done.labels[0], 0.8), (999_999, 0.7)]
    assert [i["image_id"] for i in ask(near, generation=generation)["images"]] == ["done"]
    assert fault_of(ask(near, generation="other")) == "NO_MATCHED_PRODUCT"
    assert fault_of(ask(near, generation=generation, category="服装")) == "NO_MATCHED_PRODUCT"


@pytest.mark.parametrize(
    ("content", "message", "detail"),
    [
        (b"GIF89a" + bytes(500), "NOT_SUPPORT_IMAGE", "the file is none of JPEG, PNG"),
        (picture()[:300], "INVALID_IMAGE_CONTENT", "the file is damaged or cut off"),
    ],
)
def test_a_bad_picture_is_answered_by_its_code_and_its_cause(
    ask: Ask, content: bytes, message: str, detail: str
) -> None:
    assert ask([], picture=content) == {"fault": message, "detail": detail}
    assert message in BY_MESSAGE


def test_a_url_that_can_not_be_fetched_is_2006_with_the_cause(ask: Ask) -> None:
    answer = ask([], url="http://127.0.0.1:1/x.jpg?key=SEKRET", picture=b"")
    assert fault_of(answer) == "BROKEN_BASE64_OR_URL"
    assert "127.0.0.1" in answer["detail"]
    assert "SEKRET" not in str(answer)


def test_an_index_that_does_not_answer_is_busy_and_a_fault_of_ours_is_3031(ask: Ask) -> None:
    assert ask(NoReplyError()) == {"busy": True}
    assert ask(ZeroDivisionError()) == {"fault": "SEARCH_PRODUCT_IMAGE_ERROR"}


def test_a_box_of_the_client_is_searched_and_answered(
    catalog: Catalog, take: Any, ask: Ask
) -> None:
    taken = take("a")
    near = [(succeed(catalog, taken)[0], 0.9)]
    answer = ask(near, generation=taken.collection.generation, box=(10, 20, 220, 230))
    assert answer["rectangle"] == [{"left": 10, "top": 20, "right": 220, "bottom": 230}]


@pytest.mark.parametrize("box", [(0, 0, 221, 100), (0, 0, 100, 231)])
def test_a_box_outside_of_the_picture_is_5001(ask: Ask, box: tuple[int, ...]) -> None:
    assert ask([], box=box) == {
        "fault": "INVALID_PARAMETER_JSON",
        "detail": "rectangle exceeds the picture, which has 220 x 230 pixels",
    }


def test_grouped_answers_each_product_once_however_many_images_it_has(
    catalog: Catalog, take: Any, ask: Ask
) -> None:
    many = take(*(f"many-{n}" for n in range(60)))
    catalog.products.insert(
        many.collection, [ProductFields(product_id="other", product_name="Other", category="鞋靴")]
    )
    single = take("single", product="other")
    labels = succeed(catalog, many) + succeed(catalog, single)
    near = [(label, 1 - n / 100) for n, label in enumerate(labels)]
    answer = ask(near, generation=many.collection.generation, group_by_product=True)
    assert [image["image_id"] for image in answer["images"]] == ["many-0", "single"]


def test_what_is_less_similar_than_asked_for_is_left_out(
    catalog: Catalog, take: Any, ask: Ask
) -> None:
    taken = take("near", "far")
    near = list(zip(succeed(catalog, taken), [0.9, 0.2], strict=True))
    generation = taken.collection.generation
    answer = ask(near, generation=generation, min_similarity=0.5)
    assert [image["image_id"] for image in answer["images"]] == ["near"]
    assert ask(near, generation=generation, min_similarity=0.95)["images"] == []


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
