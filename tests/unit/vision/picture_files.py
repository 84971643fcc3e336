"""A drawing as a file of each format, and how files are made."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from tests.hostile_pictures import segment
from vision.formats import FORMATS
from vision.picture import PictureLimits

#: HEIC files; see the README beside them.
HEIC = Path(__file__).parents[2] / "pictures"

#: The formats that are taken only if the settings name them.
MORE = [one.name for one in FORMATS if one.name not in ("JPEG", "PNG")]
#: Limits that let in every format, and small pictures.
ALL = PictureLimits(0, min_side=1, max_side=4096, formats=tuple(one.name for one in FORMATS))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return a picture as a file of this format."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def drawing(width: int = 320, height: int = 240) -> Image.Image:
    """Return an ellipse on blue."""
    image = Image.new("RGB", (width, height), (30, 90, 160))
    ImageDraw.Draw(image).ellipse((40, 30, 200, 180), fill=(220, 60, 20), outline="white")
    return image


def cutout(colour: tuple[int, int, int], hidden: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """Return an ellipse of a colour on transparency, under which another colour is hidden."""
    image = Image.new("RGBA", (320, 240), (*hidden, 0))
    ImageDraw.Draw(image).ellipse((40, 30, 200, 180), fill=(*colour, 255))
    return image


def heic(name: str) -> bytes:
    """Return one of the HEIC files."""
    return (HEIC / f"{name}.heic").read_bytes()


def of_scans(side: int, *, first: Sequence[int] = (1,)) -> bytes:
    """Return a baseline JPEG of grey; its first scan has these of three components, others one."""
    scans = [first, *([each] for each in (1, 2, 3) if each not in first)]
    frame = struct.pack(">BHHB", 8, side, side, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    # One code, of one bit: no difference to the block before, and nothing but that.
    codes = [kind + b"\1" + bytes(15) + b"\0" for kind in (b"\0", b"\x10")]
    segments = [(0xDB, b"\0" + bytes([1]) * 64), (0xC0, frame), *((0xC4, code) for code in codes)]
    blocks = (-(-side // 8)) ** 2
    made = b"\xff\xd8" + b"".join(segment(*each) for each in segments)
    for scan in scans:
        components = b"".join(bytes([each, 0]) for each in scan)
        made += segment(0xDA, bytes([len(scan)]) + components + b"\0\x3f\0")
        made += bytes(-(-blocks * len(scan) * 2 // 8))
    return made + b"\xff\xd9"


#: The drawing as a file, by the name of the format.
FILES = {
    **{one.name: saved(drawing(), one.name) for one in FORMATS if one.name != "HEIC"},
    "HEIC": heic("drawing"),
}
