"""A drawing as a file of each format, and how files are made."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw

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


#: The drawing as a file, by the name of the format.
FILES = {
    **{one.name: saved(drawing(), one.name) for one in FORMATS if one.name != "HEIC"},
    "HEIC": heic("drawing"),
}
