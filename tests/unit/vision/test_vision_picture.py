"""Picture files of all kinds: what is refused, by which fault, and what decodes to what."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin

from contract import errors
from vision.picture import PictureLimits, decode, inspect, thumbnail_jpeg

LIMITS = PictureLimits(max_bytes=3_932_160, min_side=201, max_side=4096)
SMALL = PictureLimits(max_bytes=0, min_side=1, max_side=4096)
PNG_START = b"\x89PNG\r\n\x1a\n"


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def raw_png(
    size: tuple[int, int], depth: int, colour: int, rows: list[bytes], extra: bytes = b""
) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return PNG_START + header + extra + body + chunk(b"IEND", b"")


def drawing(width: int = 320, height: int = 240) -> Image.Image:
    image = Image.new("RGB", (width, height), (30, 90, 160))
    ImageDraw.Draw(image).ellipse((40, 30, 200, 180), fill=(220, 60, 20), outline="white")
    return image


def pixel(image: Image.Image, x: int, y: int = 0) -> tuple[int, ...]:
    found = image.getpixel((x, y))
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("judge", [inspect, decode])
@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", errors.InvalidImageContent),
        (b"\xff\xd8\xff", errors.InvalidImageContent),
        (b"\xff\xd8\xff\xe0" + bytes(200), errors.InvalidImageContent),
        (PNG_START, errors.InvalidImageContent),
        (PNG_START + bytes(100), errors.InvalidImageContent),
        (b"hello", errors.NotSupportImage),
        (bytes(1000), errors.NotSupportImage),
        (saved(drawing(), "GIF"), errors.NotSupportImage),
        (saved(drawing(), "BMP"), errors.NotSupportImage),
        (saved(drawing(), "WEBP"), errors.NotSupportImage),
        (saved(drawing(), "TIFF"), errors.NotSupportImage),
        (b"GIF89a" + saved(drawing()), errors.NotSupportImage),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", errors.NotSupportImage),
        (saved(drawing(200, 201)), errors.ImageTooSmall),
        (saved(drawing(201, 200), "JPEG"), errors.ImageTooSmall),
        (saved(Image.new("1", (4097, 201))), errors.ImageTooLarge),
        (saved(Image.new("1", (201, 4097))), errors.ImageTooLarge),
        (saved(Image.new("L", (4097, 300)), "JPEG"), errors.ImageTooLarge),
        (raw_png((60000, 60000), 8, 2, [b""]), errors.ImageTooLarge),
        (raw_png((0, 300), 8, 2, [b""]), errors.InvalidImageContent),
    ],
)
def test_each_fault_of_a_file_has_its_own_error(
    judge: Callable[[bytes, PictureLimits], object], data: bytes, fault: type[errors.ContractError]
) -> None:
    with pytest.raises(fault) as caught:
        judge(data, LIMITS)
    assert type(caught.value) is fault


@pytest.mark.parametrize("size", [(201, 201), (4096, 201), (201, 4096)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_side_at_its_limit_is_accepted(size: tuple[int, int], kind: str) -> None:
    data = saved(Image.new("L", size), kind)
    assert inspect(data, LIMITS) == size
    assert decode(data, LIMITS).size == size


def test_a_file_must_be_under_the_limit_of_bytes() -> None:
    data = saved(drawing(), "JPEG")
    over = PictureLimits(max_bytes=len(data), min_side=1, max_side=4096)
    under = PictureLimits(max_bytes=len(data) + 1, min_side=1, max_side=4096)
    with pytest.raises(errors.ImageSizeExceedLimit):
        inspect(data, over)
    assert inspect(data, under) == (320, 240)
    assert inspect(data, PictureLimits(max_bytes=0, min_side=1, max_side=0)) == (320, 240)


def test_bytes_are_judged_before_anything_else() -> None:
    with pytest.raises(errors.ImageSizeExceedLimit):
        inspect(bytes(3_932_160), LIMITS)
    with pytest.raises(errors.NotSupportImage):
        inspect(bytes(3_932_159), LIMITS)


def test_a_bomb_is_refused_even_without_a_limit_of_sides() -> None:
    with pytest.raises(errors.InvalidImageContent):
        decode(raw_png((60000, 60000), 8, 2, [b""]), PictureLimits(0, 1, 0))


def test_inspect_reads_no_pixels() -> None:
    header_only = raw_png((300, 250), 8, 2, [b"far too short"])
    assert inspect(header_only, LIMITS) == (300, 250)
    with pytest.raises(errors.InvalidImageContent):
        decode(header_only, LIMITS)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_png_of_each_mode_becomes_the_same_rgb_as_its_opaque_pixels(mode: str) -> None:
    stored = drawing().convert(mode)
    result = decode(saved(stored), LIMITS)
    assert result.mode == "RGB"
    assert np.array_equal(np.asarray(result), np.asarray(stored.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_each_mode_becomes_rgb_of_the_same_look(mode: str, progressive: bool) -> None:
    stored = drawing().convert(mode)
    result = decode(saved(stored, "JPEG", quality=95, progressive=progressive), LIMITS)
    difference = np.abs(np.asarray(result, int) - np.asarray(stored.convert("RGB"), int))
    assert result.mode == "RGB"
    assert difference.mean() < 3


def test_transparent_pixels_become_white_and_half_transparent_ones_are_mixed() -> None:
    image = Image.new("RGBA", (3, 1))
    image.putpixel((0, 0), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    result = decode(saved(image), SMALL)
    assert [result.getpixel((x, 0)) for x in range(3)] == [
        (255, 0, 0),
        (255, 255, 255),
        (127, 127, 127),
    ]


def test_grey_with_alpha_is_flattened_on_white() -> None:
    image = Image.new("LA", (2, 1), (10, 0))
    image.putpixel((1, 0), (10, 255))
    result = decode(saved(image), SMALL)
    assert [pixel(result, x)[0] for x in range(2)] == [255, 10]


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_a_transparent_palette_entry_is_flattened_on_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.putpixel((1, 0), 1)
    result = decode(saved(image, transparency=transparency), SMALL)
    assert [result.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (200, 0, 0)]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent", "expected"),
    [
        (8, 0, bytes([7, 90]), struct.pack(">H", 7), [255, 90]),
        (1, 0, bytes([0b01000000]), struct.pack(">H", 0), [64, 255]),
        (1, 0, bytes([0b01000000]), struct.pack(">H", 1), [0, 255]),
        (2, 0, bytes([0b01100000]), struct.pack(">H", 1), [255, 170]),
        (4, 0, bytes([0x37]), struct.pack(">H", 3), [255, 119]),
        (16, 0, struct.pack(">HH", 300, 40000), struct.pack(">H", 300), [255, 156]),
        (8, 2, bytes([1, 2, 3, 50, 50, 50]), struct.pack(">HHH", 1, 2, 3), [255, 50]),
        (
            16,
            2,
            struct.pack(">6H", 256, 512, 768, 12800, 12800, 12800),
            struct.pack(">HHH", 256, 512, 768),
            [255, 50],
        ),
    ],
)
def test_a_transparent_sample_value_is_flattened(
    depth: int, colour: int, row: bytes, transparent: bytes, expected: Any
) -> None:
    data = raw_png((2, 1), depth, colour, [row], chunk(b"tRNS", transparent))
    result = decode(data, SMALL)
    assert [result.getpixel((x, 0)) for x in range(2)] == [(grey,) * 3 for grey in expected]


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    samples = [0, 257, 32768, 65535]
    result = decode(raw_png((4, 1), 16, 0, [struct.pack(">4H", *samples)]), SMALL)
    assert [pixel(result, x)[0] for x in range(4)] == [0, 1, 128, 255]


def test_sixteen_bit_colour_and_alpha_keep_their_high_bytes() -> None:
    colour = raw_png((1, 1), 16, 2, [struct.pack(">3H", 65535, 32896, 257)])
    alpha = raw_png((1, 1), 16, 6, [struct.pack(">4H", 0, 0, 0, 0)])
    assert decode(colour, SMALL).getpixel((0, 0)) == (255, 128, 1)
    assert decode(alpha, SMALL).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    upright = Image.new("RGB", (48, 32), "black")
    upright.paste((255, 0, 0), (0, 0, 16, 16))
    upright.paste((0, 255, 0), (32, 0, 48, 16))
    # What a camera stores, so that the tag's transformation brings the scene back.
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    data = saved(stored, kind, exif=exif, **options)
    result = decode(data, SMALL)
    assert inspect(data, SMALL) == stored.size
    assert result.size == (48, 32)
    assert np.abs(np.asarray(result, int) - np.asarray(upright, int)).max() < 60


# Pillow warns of what is broken; the service logs that and goes on.
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize("exif", [b"Exif\0\0broken", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"x"])
def test_broken_exif_data_does_not_refuse_the_picture(exif: bytes) -> None:
    assert decode(saved(drawing(), "JPEG", exif=exif), LIMITS).size == (320, 240)


def test_an_orientation_that_does_not_exist_is_taken_as_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert decode(saved(drawing(), "JPEG", exif=exif), LIMITS).size == (320, 240)


def test_the_first_frame_of_an_animated_png_and_of_an_mpo_is_taken() -> None:
    red, blue = Image.new("RGB", (210, 210), "red"), Image.new("RGB", (210, 210), "blue")
    for kind in ("PNG", "MPO"):
        data = saved(red, kind, save_all=True, append_images=[blue])
        left, _, right = pixel(decode(data, LIMITS), 100, 100)
        assert left > 250
        assert right < 5


def test_bytes_of_another_format_after_the_picture_do_no_harm() -> None:
    for kind in ("JPEG", "PNG"):
        data = saved(drawing(), kind) + b"PK\x03\x04<script>alert(1)</script>" + bytes(50)
        assert decode(data, LIMITS).size == (320, 240)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_jpeg_is_refused(progressive: bool, kept: float) -> None:
    data = saved(drawing(), "JPEG", progressive=progressive)
    with pytest.raises(errors.InvalidImageContent):
        decode(data[: int(len(data) * kept)], LIMITS)


@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_marker_is_refused(missing: int) -> None:
    with pytest.raises(errors.InvalidImageContent):
        decode(saved(drawing(), "JPEG")[:-missing], LIMITS)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_png_is_refused(kept: float) -> None:
    data = saved(drawing())
    with pytest.raises(errors.InvalidImageContent):
        decode(data[: int(len(data) * kept)], LIMITS)


def test_a_png_without_its_end_chunk_is_refused() -> None:
    with pytest.raises(errors.InvalidImageContent):
        decode(saved(drawing())[:-12], LIMITS)


def test_a_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(saved(drawing()))
    data[data.index(b"IDAT") + 40] ^= 1
    with pytest.raises(errors.InvalidImageContent):
        decode(bytes(data), LIMITS)


def test_a_text_bomb_in_a_png_is_never_inflated() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "a" * 20_000_000, zip=True)
    result = decode(saved(drawing(), pnginfo=notes), LIMITS)
    assert np.array_equal(np.asarray(result), np.asarray(drawing()))


def test_nothing_of_the_metadata_goes_along() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker of the camera"
    image = decode(saved(drawing(), "JPEG", exif=exif, comment=b"at home"), LIMITS)
    thumbnail = thumbnail_jpeg(image, 640)
    assert image.info == {}
    assert b"Maker" not in thumbnail
    assert b"at home" not in thumbnail


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1280, 960), (640, 480)), ((300, 1200), (160, 640)), ((300, 200), (300, 200))],
)
def test_a_thumbnail_is_a_jpeg_of_at_most_the_long_side(
    size: tuple[int, int], expected: Any
) -> None:
    data = thumbnail_jpeg(Image.new("RGB", size, "teal"), 640)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", expected, "RGB")


def test_making_a_thumbnail_leaves_the_picture_as_it_is() -> None:
    image = drawing(1280, 960)
    thumbnail_jpeg(image, 100)
    assert image.size == (1280, 960)


def damaged_files() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    rng = random.Random(20261122)
    small = drawing(64, 48)
    sources = [
        saved(small, "JPEG", exif=exif),
        saved(small, "JPEG", progressive=True),
        saved(small.convert("CMYK"), "JPEG"),
        saved(small, "PNG", exif=exif),
        saved(small.convert("P"), "PNG", transparency=0),
        saved(small.convert("LA"), "PNG"),
        saved(small, "PNG", save_all=True, append_images=[small.rotate(90)]),
        saved(small, "MPO", save_all=True, append_images=[small]),
        raw_png((2, 1), 16, 0, [b"abcd"], chunk(b"tRNS", b"ab")),
    ]
    files = []
    for source in sources:
        files += [source[: rng.randrange(len(source))] for _ in range(40)]
        for _ in range(120):
            flipped = bytearray(source)
            for _ in range(rng.choice([1, 1, 2, 8, 40])):
                # Headers are short, so half of the damage is aimed at them.
                reach = len(flipped) if rng.random() < 0.5 else min(len(flipped), 200)
                flipped[rng.randrange(reach)] = rng.randrange(256)
            files.append(bytes(flipped))
    for start in (b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\x10JFIF\0", PNG_START):
        files += [start + rng.randbytes(rng.randrange(400)) for _ in range(80)]
    return files


# Pillow warns of metadata that it can make nothing of; that is what is fed to it here.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_bytes_raise_anything_but_an_error_of_the_contract() -> None:
    outcomes = set()
    for data in damaged_files():
        for judge in (inspect, decode):
            try:
                judge(data, SMALL)
            except errors.ContractError as error:
                outcomes.add(type(error))
    assert errors.InvalidImageContent in outcomes
    assert errors.NotSupportImage in outcomes


def test_the_module_needs_neither_torch_nor_numpy() -> None:
    script = (
        "import sys, vision.picture;"
        "print([m for m in ('torch', 'torchvision', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
