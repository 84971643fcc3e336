"""Pictures of more than 4096 x 4096 pixels: a JPEG is scaled while it is decoded."""

from __future__ import annotations

import struct

import pytest
from PIL import Image

from contract import errors
from tests.hostile_pictures import with_size
from tests.unit.vision.picture_files import drawing, of_scans, saved
from vision.box import Box
from vision.picture import PictureLimits, decode, inspect, seen_size

LIMITS = PictureLimits(0, min_side=1, max_side=65_535)


def gradient(width: int, height: int, mode: str = "L") -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).convert(mode)


@pytest.mark.parametrize(
    ("size", "scaled"),
    [
        ((4096, 4096), (4096, 4096)),
        ((4097, 4096), (2049, 2048)),
        ((8192, 8192), (4096, 4096)),
        ((12_000, 9000), (3000, 2250)),
        ((20_000, 300), (20_000, 300)),
    ],
)
def test_a_jpeg_is_scaled_by_the_least_factor_that_bounds_its_pixels(
    size: tuple[int, int], scaled: tuple[int, int]
) -> None:
    data = saved(gradient(*size), "JPEG", quality=30)
    found = decode(data, LIMITS)
    assert inspect(data, LIMITS) == seen_size(found) == size
    assert found.size == scaled
    # Black above and white below, as before.
    red = found.getchannel("R")
    assert red.getpixel((0, 0)) == pytest.approx(0, abs=6)
    assert red.getpixel((found.width - 1, found.height - 1)) == pytest.approx(255, abs=6)


def test_the_size_that_is_seen_is_that_of_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode(saved(gradient(5000, 4000), "JPEG", exif=exif), LIMITS)
    assert (found.size, seen_size(found)) == ((2000, 2500), (4000, 5000))
    exif[0x0112] = 77
    odd = decode(saved(gradient(5000, 4000), "JPEG", exif=exif), LIMITS)
    assert (odd.size, seen_size(odd)) == ((2500, 2000), (5000, 4000))
    exif[0x0112] = 6
    small = decode(saved(drawing(), "JPEG", exif=exif), LIMITS)
    assert small.size == seen_size(small) == (240, 320)


def test_a_picture_of_another_format_is_not_scaled() -> None:
    found = decode(saved(gradient(6000, 4000)), LIMITS)
    assert found.size == seen_size(found) == (6000, 4000)


def test_each_side_counts_against_the_limit_as_it_is_stored() -> None:
    data = saved(gradient(5000, 300), "JPEG")
    with pytest.raises(errors.ImageTooLarge):
        inspect(data, PictureLimits(0, 1, 4999))
    assert inspect(data, PictureLimits(0, 1, 5000)) == (5000, 300)


def test_more_pixels_than_scaling_bounds_are_refused() -> None:
    plain = saved(drawing(), "JPEG")
    assert inspect(with_size(plain, 32_768, 32_768), LIMITS) == (32_768, 32_768)
    with pytest.raises(errors.InvalidImageContent) as caught:
        inspect(with_size(plain, 32_769, 32_768), LIMITS)
    assert "too many" in caught.value.detail


def test_a_progressive_jpeg_is_held_in_memory_as_a_whole_so_it_may_have_fewer_pixels() -> None:
    data = saved(drawing(), "JPEG", progressive=True)
    place = data.index(b"\xff\xc2") + 5
    for side, fault in ((9400, None), (9500, errors.InvalidImageContent)):
        changed = data[:place] + struct.pack(">HH", side, side) + data[place + 4 :]
        if fault is None:
            assert inspect(changed, LIMITS) == (side, side)
        else:
            with pytest.raises(fault):
                inspect(changed, LIMITS)


def test_a_jpeg_with_a_scan_for_each_colour_is_held_as_a_whole_too() -> None:
    for first in ([1], [1, 2]):
        data = of_scans(9400, first=first)
        assert inspect(data, LIMITS) == (9400, 9400)
        assert decode(of_scans(64, first=first), LIMITS).getpixel((9, 9)) == (128, 128, 128)
        with pytest.raises(errors.InvalidImageContent) as caught:
            inspect(of_scans(9500, first=first), LIMITS)
        assert "too many" in caught.value.detail
    assert inspect(of_scans(9500, first=[1, 2, 3]), LIMITS) == (9500, 9500)


def test_a_box_is_widened_to_whole_pixels_of_the_other_size() -> None:
    box = Box(1, 2, 3, 5)
    assert box.scaled((10, 10), (10, 10)) == box
    assert box.scaled((10, 10), (40, 40)) == Box(4, 8, 12, 20)
    assert box.scaled((10, 10), (5, 5)) == Box(0, 1, 2, 3)
    assert Box(0, 0, 2049, 2048).scaled((2049, 2048), (4097, 4096)) == Box(0, 0, 4097, 4096)
