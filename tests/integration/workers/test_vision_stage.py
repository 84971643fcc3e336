"""The vision stage around a model of the test's own: claims, staged bytes, faults."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from catalog.database.connection import databases
from catalog.flows.removal import delete_images, remove_traces
from catalog.rows.chunks import Chunk, Stage
from catalog.rows.images import Failure
from catalog.store import Catalog
from config.settings import settings
from contract.errors import NoAvailableFeature
from tests.unit.vision.textured import package
from vision.box import Box
from vision.geometry.local_features import MOST_FEATURES
from vision.geometry.stored import unpack
from workers import vision as vision_stage
from workers.support.resources import staged_bytes


class MeanColour:
    """A model whose feature is the mean colour; it has none for black."""

    model_id = "mean-colour"
    dimensions = 3

    def __init__(self, model_id: str | None = None) -> None:
        assert model_id in (None, self.model_id)

    def describe(self, image: Image.Image) -> tuple[Box, NDArray[np.float32]]:
        mean = np.asarray(image, np.float32).mean(axis=(0, 1))
        if not mean.any():
            raise NoAvailableFeature
        return Box(0, 0, *image.size), np.asarray(mean / np.linalg.norm(mean), np.float32)


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision_stage, "pipeline", MeanColour)


def png(colour: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (220, 220), colour).save(data, "PNG")
    return data.getvalue()


def at_vision(catalog: Catalog, chunk: Chunk) -> Chunk:
    moved = catalog.chunks.resend(chunk, Stage.VISION)
    assert moved is not None
    return moved


def outcome(catalog: Catalog, label: int) -> str | None:
    return catalog.images.find([label])[label].outcome


def test_each_picture_gets_its_feature_and_a_kept_picture(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a", payload=png("red")).chunks
    vision_stage.vision(chunk.id, chunk.attempt)
    stored = catalog.vectors.get(chunk.labels, "mean-colour")[chunk.labels[0]]
    assert stored.tolist() == [[1.0, 0.0, 0.0]]
    kept = catalog.pictures.get(chunk.labels)[chunk.labels[0]]
    assert Image.open(io.BytesIO(kept)).format == "JPEG"
    (found,) = catalog.chunks.find([chunk.id])
    assert found.stage is Stage.INDEX


def test_all_features_of_a_picture_are_stored_under_its_label(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Parted(MeanColour):
        def describe(self, image: Image.Image) -> tuple[Box, NDArray[np.float32]]:
            box, feature = super().describe(image)
            return box, np.stack([feature, feature[::-1]])

    monkeypatch.setattr(vision_stage, "pipeline", Parted)
    (chunk,) = take("a", payload=png("red")).chunks
    vision_stage.vision(chunk.id, chunk.attempt)
    stored = catalog.vectors.get(chunk.labels, "mean-colour")[chunk.labels[0]]
    assert stored.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_fetched_bytes_are_forgotten_once_the_feature_is_stored(
    catalog: Catalog, take: Any
) -> None:
    chunk = at_vision(catalog, take("a").chunks[0])
    staged_bytes().put({chunk.labels[0]: png("red")})
    vision_stage.vision(chunk.id, chunk.attempt)
    assert catalog.vectors.present(chunk.labels) == set(chunk.labels)
    assert staged_bytes().present(chunk.labels) == set()


def test_a_chunk_whose_fetched_bytes_are_gone_goes_back_to_fetch(
    catalog: Catalog, take: Any
) -> None:
    chunk = at_vision(catalog, take("a").chunks[0])
    vision_stage.vision(chunk.id, chunk.attempt)
    (found,) = catalog.chunks.find([chunk.id])
    assert found.stage is Stage.FETCH
    assert outcome(catalog, chunk.labels[0]) is None


def test_the_same_bytes_twice_in_a_product_are_taken_once(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a", "b", payload=png("red")).chunks
    vision_stage.vision(chunk.id, chunk.attempt)
    assert [outcome(catalog, label) for label in chunk.labels] == [None, "DUPLICATE_IMAGE"]
    (later,) = take("c", payload=png("red")).chunks
    vision_stage.vision(later.id, later.attempt)
    assert outcome(catalog, later.labels[0]) == "DUPLICATE_IMAGE"


def test_the_same_chunk_again_finds_its_own_bytes_no_duplicate(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a", payload=png("red")).chunks
    vision_stage.vision(chunk.id, chunk.attempt)
    catalog.vectors.remove(chunk.labels)
    (found,) = catalog.chunks.find([chunk.id])
    again = at_vision(catalog, found)
    vision_stage.vision(again.id, again.attempt)
    assert outcome(catalog, chunk.labels[0]) is None
    assert catalog.vectors.present(chunk.labels) == set(chunk.labels)


def test_bytes_of_an_image_that_failed_or_was_deleted_may_come_again(
    catalog: Catalog, take: Any
) -> None:
    (failed,) = take("a", payload=png("black")).chunks
    vision_stage.vision(failed.id, failed.attempt)
    assert outcome(catalog, failed.labels[0]) == "NO_AVAILABLE_FEATURE"
    (again,) = take("b", payload=png("black")).chunks
    vision_stage.vision(again.id, again.attempt)
    assert outcome(catalog, again.labels[0]) == "NO_AVAILABLE_FEATURE", "not a duplicate"
    (deleted,) = take("c", payload=png("red")).chunks
    vision_stage.vision(deleted.id, deleted.attempt)
    delete_images(catalog, deleted.labels)
    (third,) = take("d", payload=png("red")).chunks
    vision_stage.vision(third.id, third.attempt)
    assert outcome(catalog, third.labels[0]) is None


def deleted_once_its_bytes_are_read(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, *labels: int
) -> None:
    """Let the client delete images after the vision stage has read their bytes."""
    read = vision_stage._bytes

    def read_and_delete(images: Any) -> dict[int, bytes]:
        found = read(images)
        delete_images(catalog, labels)
        return found

    monkeypatch.setattr(vision_stage, "_bytes", read_and_delete)


def test_an_image_deleted_before_it_claims_its_bytes_leaves_them_to_the_next(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = take("a", payload=png("red")).chunks
    with monkeypatch.context() as patch:
        deleted_once_its_bytes_are_read(catalog, patch, *first.labels)
        vision_stage.vision(first.id, first.attempt)
    rows = databases(catalog.client, settings().mongo_database)[0]
    assert rows["image_contents"].find_one({}) is None
    assert catalog.vectors.present(first.labels) == set()
    (second,) = take("a", payload=png("red")).chunks
    vision_stage.vision(second.id, second.attempt)
    assert outcome(catalog, second.labels[0]) is None


def test_of_two_equal_pictures_the_second_is_taken_where_the_first_was_just_deleted(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = take("a", "b", payload=png("red")).chunks
    first, second = chunk.labels
    deleted_once_its_bytes_are_read(catalog, monkeypatch, first)
    vision_stage.vision(chunk.id, chunk.attempt)
    assert outcome(catalog, second) is None
    assert catalog.vectors.present(chunk.labels) == {second}


@pytest.mark.parametrize("end", ["deleted", "failed", "gone"])
def test_bytes_that_a_dead_image_holds_still_are_taken_by_the_next(
    catalog: Catalog, take: Any, end: str
) -> None:
    (first,) = take("a", payload=png("red")).chunks
    vision_stage.vision(first.id, first.attempt)
    # Ended by a process that died before it released anything.
    if end == "deleted":
        catalog.images.delete(first.labels)
    elif end == "failed":
        catalog.images.fail(first.labels, Failure(message="INSERT_IMAGE_ERROR"))
    else:
        catalog.images.remove(first.labels)
    (second,) = take("b", payload=png("red")).chunks
    vision_stage.vision(second.id, second.attempt)
    assert outcome(catalog, second.labels[0]) is None
    (third,) = take("c", payload=png("red")).chunks
    vision_stage.vision(third.id, third.attempt)
    assert outcome(catalog, third.labels[0]) == "DUPLICATE_IMAGE"


def test_one_bad_picture_leaves_its_neighbours_alone(catalog: Catalog, take: Any) -> None:
    chunk = at_vision(catalog, take("good", "bad").chunks[0])
    good, bad = chunk.labels
    staged_bytes().put({good: png("red"), bad: png("blue")[:400]})
    vision_stage.vision(chunk.id, chunk.attempt)
    assert outcome(catalog, bad) == "INVALID_IMAGE_CONTENT"
    assert catalog.vectors.present([good, bad]) == {good}


def test_a_deleted_image_gets_no_feature(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a", payload=png("red")).chunks
    delete_images(catalog, chunk.labels)
    vision_stage.vision(chunk.id, chunk.attempt)
    assert catalog.vectors.present(chunk.labels) == set()


def test_a_worker_that_woke_up_after_the_end_of_an_image_leaves_nothing_of_it(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = take("a", payload=png("red")).chunks

    class Stopped(MeanColour):
        def describe(self, image: Image.Image) -> tuple[Box, NDArray[np.float32]]:
            (held,) = catalog.chunks.find([chunk.id])
            assert catalog.chunks.expire(held) is not None
            delete_images(catalog, chunk.labels)
            return super().describe(image)

    monkeypatch.setattr(vision_stage, "pipeline", Stopped)
    vision_stage.vision(chunk.id, chunk.attempt)
    assert catalog.vectors.present(chunk.labels) == set()
    assert catalog.pictures.get(chunk.labels) == {}


def test_a_worker_that_woke_up_too_late_keeps_what_another_made(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = take("a", payload=png("red")).chunks

    class Stopped(MeanColour):
        def describe(self, image: Image.Image) -> tuple[Box, NDArray[np.float32]]:
            (held,) = catalog.chunks.find([chunk.id])
            assert catalog.chunks.expire(held) is not None
            return super().describe(image)

    monkeypatch.setattr(vision_stage, "pipeline", Stopped)
    vision_stage.vision(chunk.id, chunk.attempt)
    assert catalog.vectors.present(chunk.labels) == set(chunk.labels)


def test_an_image_deleted_between_its_row_and_its_bytes_is_no_broken_picture(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = take("a", payload=png("red")).chunks
    look = vision_stage._bytes

    def delete_first(images: Any) -> dict[int, bytes]:
        delete_images(catalog, chunk.labels)
        return look(images)

    monkeypatch.setattr(vision_stage, "_bytes", delete_first)
    vision_stage.vision(chunk.id, chunk.attempt)
    assert outcome(catalog, chunk.labels[0]) is None, "the deletion is what is told of it"


def test_an_image_whose_bytes_were_never_written_ends_as_a_broken_one(
    catalog: Catalog, take: Any
) -> None:
    (chunk,) = take("a", payload=png("red")).chunks
    catalog.payloads.remove(chunk.labels)
    vision_stage.vision(chunk.id, chunk.attempt)
    assert outcome(catalog, chunk.labels[0]) == "INVALID_IMAGE_CONTENT"


@pytest.mark.parametrize("is_on", [True, False])
def test_local_features_are_kept_where_the_setting_is_on_and_go_with_the_image(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    chosen = settings().model_copy(update={"geometry": is_on})
    monkeypatch.setattr(vision_stage, "settings", lambda: chosen)
    data = io.BytesIO()
    package(1).save(data, "PNG")
    (chunk,) = take("a", payload=data.getvalue()).chunks
    vision_stage.vision(chunk.id, chunk.attempt)
    kept = catalog.local_features.get(chunk.labels)
    assert list(kept) == (chunk.labels if is_on else [])
    assert all(len(unpack(data)) == MOST_FEATURES for data in kept.values())
    delete_images(catalog, chunk.labels)
    remove_traces(catalog, chunk.labels)
    assert catalog.local_features.present(chunk.labels) == set()


def test_a_picture_without_texture_keeps_that_it_has_no_local_features(
    catalog: Catalog, take: Any
) -> None:
    (chunk,) = take("a", payload=png("red")).chunks
    vision_stage.vision(chunk.id, chunk.attempt)
    (kept,) = catalog.local_features.get(chunk.labels).values()
    assert len(unpack(kept)) == 0
