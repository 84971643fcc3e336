"""WebP, AVIF, BMP, GIF, TIFF and HEIC: refused unless the settings name them, then seen rightly."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract import errors
from tests.unit.vision.picture_files import ALL, FILES, MORE, cutout, drawing, heic, saved
from vision import picture
from vision.formats import FORMATS
from vision.ground import DARK, WHITE
from vision.picture import PictureLimits, decode, inspect, thumbnail_jpeg

DEFAULT = PictureLimits(3_932_160, min_side=201, max_side=4096)
BY_NAME = pytest.mark.parametrize("name", MORE)
JUDGES = pytest.mark.parametrize("judge", [inspect, decode])


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, int) - np.asarray(other, int)).mean())


def fault_of(data: bytes, limits: PictureLimits = ALL) -> errors.ContractError:
    with pytest.raises(errors.ContractError) as caught:
        decode(data, limits)
    return caught.value


@BY_NAME
@JUDGES
def test_a_format_is_refused_where_the_settings_do_not_name_it(
    judge: Callable[[bytes, PictureLimits], object], name: str
) -> None:
    others = replace(ALL, formats=tuple(other for other in ALL.formats if other != name))
    for limits in (DEFAULT, others):
        with pytest.raises(errors.NotSupportImage) as caught:
            judge(FILES[name], limits)
        assert caught.value.detail == f"the file is none of {', '.join(limits.formats)}"


@BY_NAME
def test_a_picture_of_each_format_looks_the_same(name: str) -> None:
    found = decode(FILES[name], ALL)
    assert inspect(FILES[name], ALL) == found.size == (320, 240)
    assert found.mode == "RGB"
    assert difference(found, drawing()) < 8
    assert found.info == {}


def transparent(colour: tuple[int, int, int]) -> dict[str, bytes]:
    image = cutout(colour)
    palette = Image.new("P", image.size, 0)
    palette.putpalette([0, 0, 0, *colour])
    palette.paste(1, mask=image.getchannel("A"))
    return {
        "WebP": saved(image, "WEBP", lossless=True),
        "AVIF": saved(image, "AVIF", quality=95),
        "TIFF": saved(image, "TIFF", compression="tiff_lzw"),
        "GIF": saved(palette, "GIF", transparency=0),
        "BMP": with_alpha_masks(image),
    }


def with_alpha_masks(image: Image.Image) -> bytes:
    """A BMP of 32 bits whose header says where its alpha is."""
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    size = struct.pack("<iiHHIIiiII", *image.size, 1, 32, 3, 0, 0, 0, 0, 0)
    header = struct.pack("<I", 56) + size + masks
    flipped = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    pixels = flipped.tobytes("raw", "BGRA")
    return b"BM" + struct.pack("<III", 70 + len(pixels), 0, 70) + header + pixels


@pytest.mark.parametrize("name", transparent((0, 0, 0)))
def test_transparency_of_each_format_gets_a_ground_on_which_the_object_shows(name: str) -> None:
    white = decode(transparent((255, 255, 255))[name], ALL)
    black = decode(transparent((0, 0, 0))[name], ALL)
    assert white.getpixel((2, 2)) == DARK
    assert black.getpixel((2, 2)) == WHITE
    assert difference(white.crop((100, 80, 140, 120)), Image.new("RGB", (40, 40), "white")) < 3


def test_transparency_of_a_heic_gets_a_ground() -> None:
    found = decode(heic("cutout"), ALL)
    assert found.getpixel((2, 2)) == WHITE
    assert difference(found.crop((100, 80, 140, 120)), drawing().crop((100, 80, 140, 120))) < 8


def upright() -> Image.Image:
    image = Image.new("RGB", (320, 240), "black")
    image.paste((255, 0, 0), (0, 0, 160, 120))
    image.paste((0, 255, 0), (160, 0, 320, 120))
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "AVIF"])
def test_the_orientation_is_applied(kind: str, orientation: int) -> None:
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    stored = upright() if back is None else upright().transpose(back)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(stored, kind, exif=exif, quality=90)
    assert inspect(data, ALL) == stored.size
    found = decode(data, ALL)
    assert found.size == (320, 240)
    assert difference(found, upright()) < 4


def test_a_heic_that_lies_on_its_side_is_turned() -> None:
    found = decode(heic("lying"), ALL)
    assert inspect(heic("lying"), ALL) == (240, 320)
    assert found.size == (320, 240)
    assert difference(found, upright()) < 4


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "TIFF", "AVIF"])
def test_the_first_of_several_frames_is_taken(kind: str) -> None:
    more = [Image.new("RGB", (320, 240), colour) for colour in ("blue", "red")]
    data = saved(drawing(), kind, save_all=True, append_images=more)
    assert difference(decode(data, ALL), drawing()) < 8


def test_the_first_of_several_pictures_of_a_heic_is_taken() -> None:
    assert difference(decode(heic("sequence"), ALL), drawing()) < 8


def test_a_gif_whose_first_frame_does_not_fill_it_is_as_large_as_its_screen() -> None:
    data = bytearray(saved(drawing(), "GIF"))
    data[6:10] = struct.pack("<HH", 400, 300)
    assert inspect(bytes(data), ALL) == decode(bytes(data), ALL).size == (400, 300)
    data[6:10] = struct.pack("<HH", 10, 10)
    assert inspect(bytes(data), ALL) == decode(bytes(data), ALL).size == (320, 240)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_the_usual_kinds_of_tiff_are_seen(compression: str, mode: str) -> None:
    image = drawing().convert(mode)
    found = decode(saved(image, "TIFF", compression=compression), ALL)
    assert difference(found, image.convert("RGB")) < 8


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_sixteen_bits_of_a_tiff_are_scaled_and_not_clipped(order: str) -> None:
    samples = np.repeat(np.array([[0, 257, 32_768, 65_535]], dtype="<u2"), 4, axis=0)
    little = saved(Image.fromarray(samples), "TIFF")
    data = little if order == "<u2" else big_endian_tiff(samples)
    found = np.asarray(decode(data, ALL))
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]


def big_endian_tiff(samples: Any) -> bytes:
    pixels = bytes(samples.astype(">u2").tobytes())
    height, width = samples.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, height), (279, len(pixels))]
    rows = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    head = b"MM\0*" + struct.pack(">I", 8 + len(pixels))
    return head + pixels + struct.pack(">H", len(tags)) + rows + bytes(4)


def of_kinds_that_are_not_taken() -> dict[str, bytes]:
    grey = drawing().convert("L")
    packed = bytearray(saved(grey, "BMP"))
    packed[30:34] = struct.pack("<I", 1)
    return {
        "the file is a BMP of a kind that is not taken: compression 1": bytes(packed),
        "the file is a TIFF of a kind that is not taken: compression 4": saved(
            drawing().convert("1"), "TIFF", compression="group4"
        ),
        "the file is a TIFF of a kind that is not taken: 32 bits a sample": saved(
            grey.convert("F"), "TIFF"
        ),
        "the file is a TIFF of a kind that is not taken: colours other than RGB, CMYK, grey and"
        " YCbCr": saved(Image.new("LAB", (300, 300)), "TIFF"),
    }


@JUDGES
@pytest.mark.parametrize("detail", of_kinds_that_are_not_taken())
def test_rare_kinds_are_refused_by_name(
    judge: Callable[[bytes, PictureLimits], object], detail: str
) -> None:
    with pytest.raises(errors.NotSupportImage) as caught:
        judge(of_kinds_that_are_not_taken()[detail], ALL)
    assert caught.value.detail == detail


@BY_NAME
@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.9])
def test_a_file_that_is_cut_off_is_refused(name: str, kept: float) -> None:
    data = FILES[name]
    assert isinstance(fault_of(data[: int(len(data) * kept)]), errors.InvalidImageContent)


@BY_NAME
def test_the_size_is_judged_without_a_reader(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tuple(replace(one, reader=never) for one in FORMATS)
    monkeypatch.setattr(
        picture,
        "format_of",
        lambda data: next(one for one in closed if one.start.match(data)),
    )
    assert inspect(FILES[name], ALL) == (320, 240)
    with pytest.raises(errors.ImageTooLarge):
        inspect(FILES[name], replace(ALL, max_side=319))
    with pytest.raises(errors.ImageTooSmall):
        inspect(FILES[name], replace(ALL, min_side=241))


def never(_file: object) -> Any:
    raise AssertionError("a reader was asked")


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "AVIF"])
def test_nothing_of_the_metadata_goes_along(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker of the camera"
    found = decode(saved(drawing(), kind, exif=exif), ALL)
    assert found.info == {}
    assert b"Maker" not in thumbnail_jpeg(found, 640)


# Pillow warns of metadata that it can make nothing of; that is what is fed to it here.
@pytest.mark.filterwarnings("ignore::UserWarning")
@BY_NAME
def test_no_bytes_raise_anything_but_an_error_of_the_contract(name: str) -> None:
    rng = random.Random(20261130)
    source = FILES[name]
    outcomes = set()
    for _ in range(150):
        flipped = bytearray(source)
        for _ in range(rng.choice([1, 1, 2, 8, 40])):
            # Headers are short, so half of the damage is aimed at them.
            reach = len(flipped) if rng.random() < 0.5 else min(len(flipped), 300)
            flipped[rng.randrange(reach)] = rng.randrange(256)
        for judge in (inspect, decode):
            try:
                judge(bytes(flipped), ALL)
            except errors.ContractError as error:
                outcomes.add(type(error))
    assert errors.InvalidImageContent in outcomes


def test_the_api_loads_no_reader_of_heic_and_no_model() -> None:
    script = (
        "import sys, vision.picture;"
        "print([m for m in ('pi_heif', 'torch', 'onnxruntime', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
