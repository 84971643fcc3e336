"""Picture files: checking the header, decoding, and making a thumbnail.

The API process imports this module, so it uses only Pillow.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import ExifTags, Image, ImageMath

from contract import causes
from vision.formats import FORMATS, Format, format_of

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from config.settings import Settings

_THUMBNAIL_QUALITY = 85
#: The most pixels of a picture even without limits of sides (a quarter of a gigabyte in RGB;
#: Pillow's own warning begins there too).
_MOST_PIXELS = 2**30 // 4 // 3

#: The method that turns a stored picture upright, by EXIF Orientation (CIPA DC-008, 4.6.4).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: For stored greyscale of fewer than eight bits, the factor by which Pillow scales samples when it
#: decodes them; it does not scale the file's transparent sample.
_SAMPLE_SCALE = {"L;2": 85, "L;4": 17}


@dataclass(frozen=True)
class PictureLimits:
    """The limits of a picture.

    A file has fewer than `max_bytes` bytes; each side has `min_side` to `max_side` pixels,
    inclusive. 0 means no limit for `max_bytes` and `max_side`.
    """

    max_bytes: int
    min_side: int
    max_side: int


def picture_limits_of(chosen: Settings) -> PictureLimits:
    """Return the limits that settings give."""
    return PictureLimits(
        max_bytes=chosen.image_bytes,
        min_side=chosen.image_min_side,
        max_side=chosen.image_max_side,
    )


def inspect(data: bytes, limits: PictureLimits) -> tuple[int, int]:
    """Return width and height in pixels as stored, from the header of the file `data`.

    No pixel is decoded, so it takes well under a millisecond. Raises ImageSizeExceedLimit,
    NotSupportImage, InvalidImageContent, ImageTooSmall or ImageTooLarge, checked in this order.
    """
    _, image, _ = _opened(data, limits)
    return image.size


def decode(data: bytes, limits: PictureLimits) -> Image.Image:
    """Return the first frame of the file `data`, upright, as 8-bit RGB without metadata.

    Transparent parts become white. Raises what `inspect` raises, and InvalidImageContent for a
    file that is truncated or damaged; no other exception but MemoryError, whatever the bytes.
    """
    found, image, exif = _opened(data, limits)
    try:
        if found.has_checksums:
            # Only verify() checks the checksums, and it leaves the object unusable.
            _, again, _ = _opened(data, limits)
            again.verify()
        stored_as = str(image.tile[0].args)
        image.load()
        upright = _turned(_flattened(image, stored_as), _orientation(exif))
    except MemoryError:
        raise
    except Exception as error:
        # Pillow's parsers raise many classes, such as struct.error and AttributeError; for
        # clients all of them are one fault.
        raise causes.DAMAGED.fault(f"does not decode: {error!r}") from error
    upright.info = {}
    return upright


def thumbnail_jpeg(image: Image.Image, long_side: int) -> bytes:
    """Return an RGB picture as a JPEG file, scaled down to at most `long_side` pixels a side."""
    small = image.copy()
    small.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_THUMBNAIL_QUALITY)
    return file.getvalue()


def _opened(data: bytes, limits: PictureLimits) -> tuple[Format, ImageFile, bytes]:
    """Return the format, the file without metadata with its header read, and its EXIF data.

    The last is b"" if there is none.
    """
    if limits.max_bytes and len(data) >= limits.max_bytes:
        raise causes.TOO_MANY_BYTES.fault(limit=limits.max_bytes)
    if not data:
        raise causes.EMPTY.fault()
    # Not Image.open, which would refuse a giant picture before its size is known, and would read
    # further frames of a JPEG.
    found = format_of(data)
    if found is None:
        names = ", ".join(one.name for one in FORMATS)
        raise causes.FORMAT.fault(f"starts with {data[:8].hex()}", formats=names)
    try:
        parts = found.parts_of(data)
        image = found.reader(io.BytesIO(parts.data))
    except MemoryError:
        raise
    except Exception as error:
        raise causes.HEADER.fault(f"no readable header: {error!r}") from error
    _check_sides(image, limits)
    return found, image, parts.exif


def _check_sides(image: ImageFile, limits: PictureLimits) -> None:
    sides = {"width": image.width, "height": image.height}
    if min(image.size) < limits.min_side:
        raise causes.SMALL.fault(**sides, limit=limits.min_side)
    if limits.max_side and max(image.size) > limits.max_side:
        raise causes.LARGE.fault(**sides, limit=limits.max_side)
    if image.width * image.height > _MOST_PIXELS:
        raise causes.PIXELS.fault(**sides)


def _flattened(image: ImageFile, stored_as: str) -> Image.Image:
    """Return a loaded picture of any mode as RGB, with white in place of transparency."""
    transparent = image.info.get("transparency")
    if image.mode == "I;16":
        return _flattened_16_bit(image, transparent)
    if stored_as in _SAMPLE_SCALE and transparent is not None:
        image.info["transparency"] = transparent * _SAMPLE_SCALE[stored_as]
    elif stored_as == "RGB;16B" and transparent is not None:
        image.info["transparency"] = tuple(sample >> 8 for sample in transparent)
    if not image.has_transparency_data:
        return image.convert("RGB")
    return _over_white(image.convert("RGBA"))


def _flattened_16_bit(image: Image.Image, transparent: int | None) -> Image.Image:
    """Return 16-bit grey as RGB; Pillow's own conversion would clip values above 255 to white."""
    samples = image.convert("I")
    grey = samples.point(lambda sample: sample * (1 / 257) + 0.5).convert("L")
    if transparent is None:
        return grey.convert("RGB")
    alpha = ImageMath.lambda_eval(
        lambda given: given["convert"]((given["samples"] != transparent) * 255, "L"),
        samples=samples,
    )
    return _over_white(Image.merge("RGBA", (grey, grey, grey, alpha)))


def _over_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _orientation(data: bytes) -> int:
    """Return the orientation in EXIF data; 1 (upright) if there is none or it can't be read."""
    exif = Image.Exif()
    try:
        # Pillow warns of each broken tag, possibly thousands of times for one file.
        with warnings.catch_warnings(action="ignore"):
            exif.load(data)
            return int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:
        # Viewers show a picture with broken EXIF data as it is stored.
        return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)
