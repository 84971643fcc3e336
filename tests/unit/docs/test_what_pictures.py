"""What docs/what-is-accepted.md says of each kind of picture is so."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from PIL import Image

from contract import errors
from tests.accepted import kinds
from tests.hostile_pictures import scan_bomb, with_size
from tests.unit.vision.picture_files import ALL, FILES, cutout, drawing, heic, of_scans, saved
from vision.ground import DARK, WHITE, is_of_one_colour
from vision.picture import PictureLimits, decode, inspect, seen_size, thumbnail_jpeg

USUAL = PictureLimits(3_932_160, min_side=201, max_side=4096)
LARGE = replace(ALL, max_side=0)


def fault(data: bytes, limits: PictureLimits = USUAL) -> type[errors.ContractError]:
    with pytest.raises(errors.ContractError) as caught:
        decode(data, limits)
    return type(caught.value)


def usual() -> None:
    assert [decode(FILES[name], USUAL).size for name in ("JPEG", "PNG")] == [(320, 240)] * 2


def others() -> None:
    for name in ("WebP", "AVIF", "BMP", "GIF", "TIFF"):
        assert fault(FILES[name]) is errors.NotSupportImage
        assert decode(FILES[name], replace(USUAL, formats=(name,))).size == (320, 240)


def of_phones() -> None:
    assert fault(FILES["HEIC"]) is errors.NotSupportImage
    assert decode(FILES["HEIC"], replace(USUAL, formats=("HEIC",))).size == (320, 240)


def first_bytes() -> None:
    only_png = replace(USUAL, formats=("PNG",))
    assert fault(FILES["JPEG"], only_png) is errors.NotSupportImage


def frames() -> None:
    blue = Image.new("RGB", (320, 240), "blue")
    for kind in ("PNG", "WEBP", "GIF", "TIFF", "AVIF"):
        data = saved(drawing(), kind, save_all=True, append_images=[blue])
        assert decode(data, ALL).getpixel((120, 100)) != (0, 0, 255)
    assert decode(heic("sequence"), ALL).getpixel((120, 100)) != (0, 0, 255)


def sides() -> None:
    with pytest.raises(errors.ImageTooSmall):
        inspect(saved(drawing(200, 300)), USUAL)
    with pytest.raises(errors.ImageTooLarge):
        inspect(with_size(FILES["JPEG"], 4097, 300), USUAL)


def scaled() -> None:
    image = decode(saved(Image.linear_gradient("L").resize((5000, 4000)), "JPEG"), LARGE)
    assert (image.size, seen_size(image)) == ((2500, 2000), (5000, 4000))


def pixels_of_others() -> None:
    bmp = bytearray(FILES["BMP"])
    bmp[18:26] = struct.pack("<ii", 9_500, 9_500)
    assert fault(bytes(bmp), LARGE) is errors.InvalidImageContent
    for data in (scan_bomb(9_500, 1), of_scans(9_500)):
        assert fault(data, LARGE) is errors.InvalidImageContent


def pixels_of_jpeg() -> None:
    assert inspect(with_size(FILES["JPEG"], 32_768, 32_768), LARGE) == (32_768, 32_768)
    assert fault(with_size(FILES["JPEG"], 32_768, 32_769), LARGE) is errors.InvalidImageContent


def orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        assert decode(saved(drawing(), kind, exif=exif), ALL).size == (240, 320)


def rotation() -> None:
    assert decode(heic("lying"), ALL).size == (320, 240)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(saved(drawing(), "AVIF", exif=exif), ALL).size == (240, 320)
    # Pillow writes an orientation into the boxes alone, so another tag becomes one.
    exif = Image.Exif()
    exif[0x0103] = 6
    stored = saved(drawing(), "AVIF", exif=exif)
    assert stored.count(b"\x01\x03\0\3") == 1
    stored = stored.replace(b"\x01\x03\0\3", b"\x01\x12\0\3")
    assert decode(stored, ALL).size == (320, 240)


def on_white() -> None:
    assert decode(saved(cutout((239, 239, 239))), ALL).getpixel((0, 0)) == WHITE


def on_grey() -> None:
    assert decode(saved(cutout((240, 240, 240))), ALL).getpixel((0, 0)) == DARK


def hidden() -> None:
    one, other = (decode(saved(cutout((255,) * 3, under)), ALL) for under in (WHITE, (0, 99, 0)))
    assert one.tobytes() == other.tobytes()


def nothing() -> None:
    for image in (Image.new("RGBA", (300, 300), (9, 9, 9, 0)), Image.new("RGB", (300, 300))):
        assert is_of_one_colour(decode(saved(image), USUAL))


def sixteen_bits() -> None:
    grey = Image.new("I;16", (300, 300), 0x80_80)
    assert decode(saved(grey), USUAL).getpixel((0, 0)) == (128, 128, 128)


def cmyk() -> None:
    assert decode(saved(drawing().convert("CMYK"), "JPEG"), USUAL).mode == "RGB"


def rare() -> None:
    fax = saved(drawing().convert("1"), "TIFF", compression="group4")
    bmp = FILES["BMP"][:30] + b"\1" + FILES["BMP"][31:]
    floats = saved(drawing().convert("F"), "TIFF")
    lab = saved(Image.new("LAB", (300, 300)), "TIFF")
    for data in (fax, bmp, floats, lab):
        assert fault(data, ALL) is errors.NotSupportImage


def damaged() -> None:
    for data in FILES.values():
        assert fault(data[: len(data) // 2], ALL) is errors.InvalidImageContent


def metadata() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    image = decode(saved(drawing(), "JPEG", exif=exif, comment=b"at home"), USUAL)
    assert image.info == {}
    assert b"Maker" not in thumbnail_jpeg(image, 640)


#: By the beginning of a row.
CHECKS: dict[str, Callable[[], None]] = {
    "JPEG or PNG": usual,
    "WebP, AVIF": others,
    "HEIC": of_phones,
    "a file whose name": first_bytes,
    "an animation": frames,
    "a side under": sides,
    "a JPEG of more than 4096": scaled,
    "another format, a progressive": pixels_of_others,
    "a JPEG of more than 1,073": pixels_of_jpeg,
    "an orientation": orientation,
    "a rotation": rotation,
    "transparency, and at least": on_white,
    "transparency, and the object": on_grey,
    "colours under": hidden,
    "a picture of one colour": nothing,
    "16 bits": sixteen_bits,
    "CMYK": cmyk,
    "a BMP that is": rare,
    "a file that is cut": damaged,
    "text, colour profiles": metadata,
}
ROWS = kinds("Pictures")


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table_of_pictures_is_so(row: str) -> None:
    (check,) = (each for start, each in CHECKS.items() if row.startswith(start))
    check()


def test_every_check_has_its_row() -> None:
    assert len(ROWS) == len(CHECKS)
