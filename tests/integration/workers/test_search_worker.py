"""What a search answers from what the index finds: only what is alive, and enough of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from catalog.flows.removal import delete_collection, delete_images, delete_product
from catalog.rows.products import ProductFields
from catalog.store import Catalog
from contract.errors import BY_MESSAGE
from tests.integration.workers.any_feature import picture, succeed
from vision.picture import PictureLimits, decode
from workers import search as search_stage
from workers.index_process.neighbours import NoReplyError

Ask = Callable[..., dict[str, Any]]


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
