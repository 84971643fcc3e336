"""Cut-outs get a ground on which they show; what was seen on white before looks as it did."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.hostile_pictures import chunk
from tests.unit.vision.picture_files import ALL, cutout, saved
from vision.ground import DARK, NOISE, WHITE, is_of_one_colour, on_ground
from vision.picture import decode


def ground_of(image: Image.Image) -> tuple[int, ...]:
    found = on_ground(image).getpixel((0, 0))
    assert isinstance(found, tuple)
    return found


def on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def shaded(darkest: int) -> Image.Image:
    """A cut-out that goes from white to this grey."""
    grey = Image.linear_gradient("L").resize((320, 240))
    grey = grey.point([darkest + (255 - darkest) * level // 255 for level in range(256)])
    return Image.merge("RGBA", (grey, grey, grey, cutout((0, 0, 0)).getchannel("A")))


@pytest.mark.parametrize("colour", [(255, 255, 255), (252, 250, 248), (245, 245, 245)])
def test_a_white_cutout_shows(colour: tuple[int, int, int]) -> None:
    picture = on_ground(cutout(colour))
    assert picture.getpixel((0, 0)) == DARK
    assert picture.getpixel((120, 100)) == colour


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 30, 30), (255, 255, 0), (225, 225, 225)])
def test_what_shows_on_white_looks_as_it_did_before(colour: tuple[int, int, int]) -> None:
    image = cutout(colour)
    assert np.array_equal(np.asarray(on_ground(image)), np.asarray(on_white(image)))


def test_white_goods_that_are_shaded_enough_stay_on_white() -> None:
    assert ground_of(shaded(200)) == WHITE
    assert ground_of(shaded(243)) == DARK


@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 0, 0), (255, 255, 255)])
def test_colours_under_full_transparency_do_not_count(hidden: tuple[int, int, int]) -> None:
    for colour in ((255, 255, 255), (10, 10, 10)):
        picture = on_ground(cutout(colour, hidden))
        assert np.array_equal(np.asarray(picture), np.asarray(on_ground(cutout(colour))))


def test_a_soft_shadow_does_not_keep_a_white_thing_on_white() -> None:
    shadow = Image.new("RGBA", (320, 240), (0, 0, 0, 0))
    ImageDraw.Draw(shadow).ellipse((20, 140, 300, 230), fill=(0, 0, 0, 110))
    shadow = shadow.filter(ImageFilter.GaussianBlur(12))
    shadow.alpha_composite(cutout((255, 255, 255)))
    assert ground_of(shadow) == DARK


def test_half_transparent_edges_with_a_dark_fringe_do_not_keep_it_on_white() -> None:
    image = cutout((255, 255, 255))
    ImageDraw.Draw(image).ellipse((40, 30, 200, 180), outline=(0, 0, 0, 140), width=2)
    assert ground_of(image) == DARK


def test_a_small_print_does_not_keep_a_white_thing_on_white() -> None:
    image = cutout((250, 250, 250))
    ImageDraw.Draw(image).rectangle((100, 90, 130, 120), fill="black")
    assert ground_of(image) == DARK
    ImageDraw.Draw(image).rectangle((60, 70, 180, 150), fill="black")
    assert ground_of(image) == WHITE


def test_glass_is_judged_by_what_is_most_solid_of_it() -> None:
    image = cutout((255, 255, 255))
    image.putalpha(image.getchannel("A").point([level // 3 for level in range(256)]))
    assert ground_of(image) == DARK


def test_a_picture_with_alpha_that_hides_nothing_is_left_alone() -> None:
    image = Image.linear_gradient("L").resize((300, 300)).convert("RGBA")
    assert np.array_equal(np.asarray(on_ground(image)), np.asarray(image.convert("RGB")))


def test_nothing_is_left_of_what_is_all_transparent_or_of_one_colour() -> None:
    noise = np.random.default_rng(4).integers(0, 256, (240, 320, 4), dtype=np.uint8)
    noise[..., 3] = 0
    assert is_of_one_colour(on_ground(Image.fromarray(noise)))
    for colour in ("white", "black", (9, 200, 40)):
        assert is_of_one_colour(Image.new("RGB", (300, 210), colour))


def test_a_few_levels_are_nothing_and_more_are_something() -> None:
    image = Image.new("RGB", (300, 300), (200, 200, 200))
    image.paste((200 + NOISE, 200, 200), (0, 0, 9, 9))
    assert is_of_one_colour(image)
    image.putpixel((150, 150), (201 + NOISE, 200, 200))
    assert not is_of_one_colour(image)


def test_grey_with_alpha_a_palette_and_sixteen_bits_get_the_same_ground() -> None:
    white = cutout((255, 255, 255))
    palette = Image.new("P", (320, 240), 0)
    palette.putpalette([255, 255, 255, 255, 255, 255])
    ImageDraw.Draw(palette).ellipse((40, 30, 200, 180), fill=1)
    files = {
        "RGBA": saved(white),
        "LA": saved(white.convert("LA")),
        "palette": saved(palette, transparency=0),
        "palette of levels": saved(palette, transparency=bytes([0, 255])),
        "16-bit grey": sixteen_bits(),
    }
    corners = {name: decode(data, ALL).getpixel((0, 0)) for name, data in files.items()}
    assert corners == dict.fromkeys(files, DARK)
    assert not any(is_of_one_colour(decode(data, ALL)) for data in files.values())


def sixteen_bits() -> bytes:
    """A PNG of 16-bit grey, white, whose value 1 is transparent."""
    samples = np.full((240, 320), 65_535, dtype="<u2")
    samples[:100] = 1
    data = saved(Image.fromarray(samples))
    return data[:33] + chunk(b"tRNS", struct.pack(">H", 1)) + data[33:]
