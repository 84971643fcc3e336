"""Inliers: many for another view of the same thing, none for other things and bad fits."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.unit.vision.textured import package, view
from vision.geometry.local_features import LocalFeatures, image_features, query_features
from vision.geometry.stored import pack, unpack
from vision.geometry.verification import inliers as points_that_agree

#: Far more than any two pictures have by chance.
MANY = 20


def of_image(picture: Image.Image) -> LocalFeatures:
    return unpack(pack(image_features(picture)))


def inliers(query: LocalFeatures, candidate: LocalFeatures) -> int:
    return len(points_that_agree(query, candidate))


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
    assert counts[2] >= MANY
    assert max(counts[:2] + counts[3:]) <= 6


def test_a_part_of_a_picture_agrees_with_the_whole(gallery: list[LocalFeatures]) -> None:
    part = package(3).crop((80, 100, 320, 400)).rotate(10, Image.Resampling.BICUBIC)
    counts = [inliers(query_features(part), one) for one in gallery]
    assert counts[3] >= MANY
    assert max(counts[:3] + counts[4:]) <= 6


def test_a_picture_agrees_with_itself_in_most_of_its_features(
    gallery: list[LocalFeatures],
) -> None:
    # A point with several directions has a feature for each, and counts once.
    assert inliers(gallery[0], gallery[0]) > 0.6 * len(gallery[0])


def test_the_same_points_agree_each_time(gallery: list[LocalFeatures]) -> None:
    query = query_features(view(package(4), 15, 0.8))
    first = points_that_agree(query, gallery[4])
    assert all(np.array_equal(first, points_that_agree(query, gallery[4])) for _ in range(4))


def test_the_points_that_agree_lie_where_the_thing_is_in_the_query(
    gallery: list[LocalFeatures],
) -> None:
    scene = Image.new("RGB", (240, 240), "grey")
    scene.paste(package(1).resize((100, 120)), (130, 10))
    points = points_that_agree(query_features(scene), gallery[1])
    assert len(points) >= 10
    inside = ((points > (125, 5)) & (points < (235, 135))).all(axis=1)
    assert inside.mean() > 0.9


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
        features.codes,
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
