"""Pictures at the edges of the contract, made from the samples with Pillow."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

#: An image file is smaller than this.
LIMIT_BYTES = 3_932_160

#: Width and height of the picture that kills the worker of `standins.deadly_vision`.
DEADLY_SIZE = (333, 222)

#: Width and height of the picture that needs too much memory of `standins.greedy_vision`.
GREEDY_SIZE = (222, 333)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def resized(source: Path, width: int, height: int, kind: str = "JPEG") -> bytes:
    """Return a picture as a file of this size in pixels."""
    with Image.open(source) as image:
        return _saved(image.convert("RGB").resize((width, height)), kind)


def padded(source: Path, size: int) -> bytes:
    """A JPEG that decodes, with bytes after its end up to `size`."""
    data = resized(source, 640, 480)
    return data + bytes(size - len(data))


def truncated(source: Path) -> bytes:
    """Return the first half of a JPEG file."""
    data = resized(source, 640, 480)
    return data[: len(data) // 2]


def gif(source: Path) -> bytes:
    return resized(source, 400, 300, "GIF")


def turned_by_exif(source: Path) -> tuple[bytes, bytes, tuple[int, int]]:
    """A JPEG that lies on its side with orientation 6, the same upright, and the upright size."""
    with Image.open(source) as image:
        upright = image.convert("RGB").resize((480, 640))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying = _saved(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=92, exif=exif)
    with Image.open(io.BytesIO(lying)) as stored:
        assert stored.size == (640, 480)
        seen = ImageOps.exif_transpose(stored)
        return lying, _saved(seen, "PNG"), seen.size


def transparent(cutout: Path) -> tuple[bytes, bytes]:
    """A PNG with alpha, and the same on white without."""
    with Image.open(cutout) as image:
        clear = image.convert("RGBA").resize((512, 512))
    assert clear.getchannel("A").getextrema()[0] == 0
    white = Image.new("RGBA", clear.size, "white")
    return _saved(clear, "PNG"), _saved(Image.alpha_composite(white, clear).convert("RGB"), "PNG")
