"""Inliers: many for another view of the same thing, none for other things and bad fits."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.unit.vision.textured import package, view
from vision.geometry.local_features import LocalFeatures, image_features, query_features
from vision.geometry.score import ENOUGH_INLIERS, similarity
from vision.geometry.stored import pack, unpack
from vision.geometry.verification import inliers


def of_image(picture: Image.Image) -> LocalFeatures:
    return unpack(pack(image_features(picture)))


@pytest.fixture(scope="module")
def gallery() -> list[LocalFeatures]:
    return [of_image(package(seed)) for seed in range(6)]


@pytest.mark.parametrize(
    ("degrees", "share"), [(0, 1), (20, 0.9), (90, 0.7), (180, 0.8), (-35, 0.6)]
)
def test_a_turned_and_scaled_view_agrees_with_its_own_picture_alone(
    gallery: list[LocalFeatures], degrees: float, share: float
) -> None:
    query = query_features(view(package(2), degrees, share))
    counts = [inliers(query, one) for one in gallery]
    assert counts[2] >= ENOUGH_INLIERS
    assert max(counts[:2] + counts[3:]) <= 6


def test_a_part_of_a_picture_agrees_with_the_whole(gallery: list[LocalFeatures]) -> None:
    part = package(3).crop((80, 100, 320, 400)).rotate(10, Image.Resampling.BICUBIC)
    counts = [inliers(query_features(part), one) for one in gallery]
    assert counts[3] >= ENOUGH_INLIERS
    assert max(counts[:3] + counts[4:]) <= 6


def test_a_picture_agrees_with_itself_in_most_of_its_features(
    gallery: list[LocalFeatures],
) -> None:
    # A point with several directions has a feature for each, and counts once.
    assert inliers(gallery[0], gallery[0]) > 0.6 * len(gallery[0])


def test_the_number_is_the_same_each_time(gallery: list[LocalFeatures]) -> None:
    query = query_features(view(package(4), 15, 0.8))
    assert len({inliers(query, gallery[4]) for _ in range(5)}) == 1


def test_what_has_no_texture_agrees_with_nothing(gallery: list[LocalFeatures]) -> None:
    plain = query_features(Image.new("RGB", (300, 300), "red"))
    assert inliers(plain, gallery[0]) == inliers(gallery[0], plain) == inliers(plain, plain) == 0


def test_a_mirror_image_does_not_agree(gallery: list[LocalFeatures]) -> None:
    assert inliers(query_features(ImageOps.mirror(package(5))), gallery[5]) <= 6


def moved(features: LocalFeatures, points: np.ndarray, size: float = 1.0) -> LocalFeatures:
    return LocalFeatures(
        points.astype(np.float32),
        features.sizes * np.float32(size),
        features.angles,
        features.descriptors,
    )


def test_points_that_fall_together_count_once(gallery: list[LocalFeatures]) -> None:
    one = moved(gallery[0], np.full_like(gallery[0].points, 100))
    assert inliers(one, gallery[0]) == inliers(gallery[0], one) == inliers(one, one) == 0


@pytest.mark.parametrize("scale", [20, 1 / 20])
def test_an_absurd_scale_does_not_agree(gallery: list[LocalFeatures], scale: float) -> None:
    assert inliers(moved(gallery[0], gallery[0].points * scale, scale), gallery[0]) == 0


def test_points_in_disorder_do_not_agree_though_they_look_alike(
    gallery: list[LocalFeatures],
) -> None:
    order = np.random.default_rng(1).permutation(len(gallery[0]))
    assert inliers(moved(gallery[0], gallery[0].points[order]), gallery[0]) <= 8


@pytest.mark.parametrize("cosine", [-1.0, -0.2, 0.0, 0.5, 0.9, 0.9995, 1.0, 1.0000002])
def test_inliers_raise_a_similarity_towards_1_and_never_beyond(cosine: float) -> None:
    raised = [similarity(cosine, count) for count in (0, 5, 10, 20, 500)]
    assert raised == sorted(raised)
    assert raised[0] == min(cosine, 1.0)
    assert raised[-1] <= 1


def test_as_many_inliers_leave_the_order_of_the_cosines() -> None:
    assert similarity(0.5, 300) < similarity(0.9, 300)
    assert similarity(0.9, 0) < similarity(0.85, ENOUGH_INLIERS)
