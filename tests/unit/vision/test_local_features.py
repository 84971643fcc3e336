"""Local features: bounded, the same each time, and whole after they were stored."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_info

from tests.unit.vision.textured import package
from vision.geometry.local_features import (
    MOST_CODE,
    MOST_FEATURES,
    MOST_QUERY_FEATURES,
    SIDE,
    LocalFeatures,
    image_features,
    limit_threads,
    query_features,
    scaled_size,
)
from vision.geometry.stored import UnusableFeaturesError, pack, unpack


@pytest.fixture(scope="module")
def features() -> LocalFeatures:
    return image_features(package(1))


def assert_equal(one: LocalFeatures, other: LocalFeatures) -> None:
    assert np.array_equal(one.points, other.points)
    assert np.array_equal(one.sizes, other.sizes)
    assert np.array_equal(one.angles, other.angles)
    assert np.array_equal(one.codes, other.codes)


def test_a_picture_has_the_same_features_each_time(features: LocalFeatures) -> None:
    assert_equal(features, image_features(package(1)))


def test_an_image_has_at_most_so_many_features_and_a_query_more(features: LocalFeatures) -> None:
    large = package(1).resize((4000, 4800))
    assert len(features) == len(image_features(large)) == MOST_FEATURES
    assert MOST_FEATURES < len(query_features(large)) <= MOST_QUERY_FEATURES
    assert len(pack(features)) <= 8 + 72 * MOST_FEATURES < 15_000


def test_the_strongest_features_are_those_that_are_kept() -> None:
    small = package(1).resize((200, 240))  # which neither an image nor a query is scaled from
    kept, more = image_features(small), query_features(small)
    shared = {*map(tuple, kept.points.tolist())} & {*map(tuple, more.points[:MOST_FEATURES])}
    assert len(kept) == MOST_FEATURES < len(more)
    assert len(shared) > 0.9 * len({*map(tuple, kept.points.tolist())})


@pytest.mark.parametrize("size", [(1, 1), (2, 700), (480, 480), (4096, 201)])
def test_a_picture_of_one_colour_has_none_whatever_its_size(size: tuple[int, int]) -> None:
    nothing = image_features(Image.new("RGB", size, "white"))
    assert len(nothing) == 0
    assert_equal(unpack(pack(nothing)), nothing)


def test_a_large_picture_is_scaled_to_the_side_and_a_small_one_is_not_enlarged() -> None:
    large = image_features(package(1).resize((2000, 1000)))
    assert SIDE / 2 < large.points[:, 0].max() <= SIDE
    assert large.points[:, 1].max() <= SIDE / 2
    assert scaled_size((2000, 1000)) == (SIDE, SIDE // 2)
    assert scaled_size((100, 80)) == (100, 80)
    assert scaled_size((9000, 3)) == (SIDE, 1)
    small = image_features(package(1, (100, 80)))
    assert 50 < small.points[:, 0].max() <= 100


def test_codes_use_half_a_byte_and_say_which_features_are_alike(features: LocalFeatures) -> None:
    assert 8 < features.codes.max() <= MOST_CODE
    alike = features.directions @ features.directions.T
    assert np.diag(alike) == pytest.approx(1, abs=1e-5)
    assert np.median(alike) < 0.8


def test_features_come_back_from_bytes(features: LocalFeatures) -> None:
    again = unpack(pack(features))
    assert np.array_equal(again.codes, features.codes)
    assert np.abs(again.points - features.points).max() <= 1 / 128
    assert np.abs(again.sizes - features.sizes).max() <= 1 / 128
    turn = np.abs(np.exp(1j * again.angles) - np.exp(1j * features.angles))
    assert turn.max() < 0.001
    assert pack(again) == pack(features)


def test_any_byte_that_was_changed_is_noticed(features: LocalFeatures) -> None:
    data = bytearray(pack(features))
    for position in [0, *range(2, 8), *range(8, len(data), 997)]:
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        with pytest.raises(UnusableFeaturesError):
            unpack(bytes(damaged))


def test_products_take_one_thread_and_opencv_those_of_the_settings() -> None:
    limit_threads(2)
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert {pool["num_threads"] for pool in pools} == {1}
    assert (cv2.getNumThreads(), cv2.ocl.useOpenCL()) == (2, False)


@pytest.mark.parametrize("length", [0, 3, 7, 8, 1000, -1])
def test_bytes_that_end_early_are_noticed(features: LocalFeatures, length: int) -> None:
    with pytest.raises(UnusableFeaturesError):
        unpack(pack(features)[:length])


@pytest.mark.parametrize(
    ("version", "count", "rest", "message"),
    [
        (2, 0, b"", "version 2, not 1"),
        (1, 1, bytes(72), "a feature has no size"),
        (1, 1, b"\xff" * 72, "outside of the picture"),
        (1, 2, bytes(72), "do not fit 2 features"),
        (1, 60_000, bytes(72 * 60_000), "do not fit 60000 features"),
    ],
)
def test_bytes_of_another_version_or_with_absurd_numbers_are_refused(
    version: int, count: int, rest: bytes, message: str
) -> None:
    with pytest.raises(UnusableFeaturesError, match=message):
        unpack(struct.pack("<BxHI", version, count, zlib.crc32(rest)) + rest)
