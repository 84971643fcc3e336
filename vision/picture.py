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
from contract.errors import ContractError
from vision.containers.parts import Parts
from vision.formats import Format, format_of
from vision.ground import on_ground

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from config.settings import Settings

_THUMBNAIL_QUALITY = 85
#: The most pixels of a picture even without limits of sides (a quarter of a gigabyte in RGB;
#: Pillow's own warning begins there too).
_MOST_PIXELS = 2**30 // 4 // 3
#: A JPEG of more is scaled down while it is decoded.
_DECODED_PIXELS = 4096 * 4096
#: The factors that its decoder knows.
_FACTORS = (1, 2, 4, 8)
#: The most pixels of a JPEG that is scaled so.
_MOST_SCALED_PIXELS = _DECODED_PIXELS * _FACTORS[-1] ** 2
#: What `decode` notes in the `info` of a picture that it scaled down.
_SEEN_SIZE = "seen size"

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
    inclusive. 0 means no limit for `max_bytes` and `max_side`. Other formats are refused.
    """

    max_bytes: int
    min_side: int
    max_side: int
    formats: tuple[str, ...] = ("JPEG", "PNG")  #: names of `vision.formats`


def picture_limits_of(chosen: Settings) -> PictureLimits:
    """Return the limits that settings give."""
    return PictureLimits(
        max_bytes=chosen.image_bytes,
        min_side=chosen.image_min_side,
        max_side=chosen.image_max_side,
        formats=chosen.picture_formats,
    )


def inspect(data: bytes, limits: PictureLimits) -> tuple[int, int]:
    """Return width and height in pixels as stored, from the header of the file `data`.

    No pixel is decoded, so it takes well under a millisecond. Raises ImageSizeExceedLimit,
    NotSupportImage, InvalidImageContent, ImageTooSmall or ImageTooLarge, checked in this order.
    """
    found, parts = _judged(data, limits)
    return parts.size or _opened(found, parts, limits).size


def decode(data: bytes, limits: PictureLimits) -> Image.Image:
    """Return the first frame of the file `data`, upright, as 8-bit RGB without metadata.

    Transparent parts become a ground on which the object shows. A JPEG of more than 4096 x 4096
    pixels comes scaled down; `seen_size` tells its own size. Raises what `inspect` raises, and
    InvalidImageContent for a file that is truncated or damaged; no other exception but MemoryError,
    whatever the bytes.
    """
    found, parts = _judged(data, limits)
    image = _opened(found, parts, limits)
    stored = image.size
    try:
        if found.has_checksums:
            # Only verify() checks the checksums, and it leaves the object unusable.
            _opened(found, parts, limits).verify()
        if found.scales:
            _scale_down(image)
        orientation = _orientation(parts.exif or image.info.get("exif") or b"")
        stored_as = str(image.tile[0].args) if image.tile else ""
        image.load()
        scaled = image.size != stored
        upright = _turned(_flattened(image, stored_as), orientation)
    except MemoryError:
        raise
    except Exception as error:
        # Pillow's parsers raise many classes, such as struct.error and AttributeError; for
        # clients all of them are one fault.
        raise causes.DAMAGED.fault(f"does not decode: {error!r}") from error
    upright.info = {}
    if found.scales and scaled:
        lies = orientation in (5, 6, 7, 8)
        upright.info[_SEEN_SIZE] = stored[::-1] if lies else stored
    return upright


def seen_size(image: Image.Image) -> tuple[int, int]:
    """Return the size that a viewer sees of the file that `decode` made this picture of.

    In pixels; larger than the picture if that was scaled down.
    """
    width, height = image.info.get(_SEEN_SIZE, image.size)
    return width, height


def thumbnail_jpeg(image: Image.Image, long_side: int) -> bytes:
    """Return an RGB picture as a JPEG file, scaled down to at most `long_side` pixels a side."""
    small = image.copy()
    small.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_THUMBNAIL_QUALITY)
    return file.getvalue()


def _judged(data: bytes, limits: PictureLimits) -> tuple[Format, Parts]:
    """Return the format, and the parts of the file, whose size is checked if they tell it.

    Only code of this project has looked into the file then.
    """
    if limits.max_bytes and len(data) >= limits.max_bytes:
        raise causes.TOO_MANY_BYTES.fault(limit=limits.max_bytes)
    if not data:
        raise causes.EMPTY.fault()
    # Not Image.open, which would refuse a giant picture before its size is known, and would read
    # further frames of a JPEG.
    found = format_of(data)
    if found is None or found.name not in limits.formats:
        names = ", ".join(limits.formats)
        raise causes.FORMAT.fault(f"starts with {data[:8].hex()}", formats=names)
    try:
        parts = found.parts_of(data)
    except (MemoryError, ContractError):
        raise
    except Exception as error:
        raise causes.HEADER.fault(f"no readable header: {error!r}") from error
    if parts.size is not None:
        _check_sides(*parts.size, limits, _MOST_PIXELS)
    return found, parts


def _opened(found: Format, parts: Parts, limits: PictureLimits) -> ImageFile:
    """Return the picture with its header read and its size checked."""
    try:
        image = found.reader(io.BytesIO(parts.data))
    except MemoryError:
        raise
    except Exception as error:
        raise causes.HEADER.fault(f"no readable header: {error!r}") from error
    is_bounded = found.scales and not parts.is_held_whole
    _check_sides(*image.size, limits, _MOST_SCALED_PIXELS if is_bounded else _MOST_PIXELS)
    return image


def _check_sides(width: int, height: int, limits: PictureLimits, most_pixels: int) -> None:
    sides = {"width": width, "height": height}
    if min(width, height) < limits.min_side:
        raise causes.SMALL.fault(**sides, limit=limits.min_side)
    if limits.max_side and max(width, height) > limits.max_side:
        raise causes.LARGE.fault(**sides, limit=limits.max_side)
    if width * height > most_pixels:
        raise causes.PIXELS.fault(**sides)


def _scale_down(image: ImageFile) -> None:
    """Let a JPEG be decoded by the least factor that leaves it few enough pixels."""
    width, height = image.size
    fitting = [each for each in _FACTORS if width * height <= _DECODED_PIXELS * each**2]
    factor = fitting[0] if fitting else _FACTORS[-1]
    if factor > 1:
        # At least a pixel a side, and rounded down, so that the factor is not made a smaller one.
        image.draft(None, (max(width // factor, 1), max(height // factor, 1)))


def _flattened(image: ImageFile, stored_as: str) -> Image.Image:
    """Return a loaded picture of any mode as RGB, with a ground in place of transparency."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        return _flattened_16_bit(image, transparent)
    if stored_as in _SAMPLE_SCALE and transparent is not None:
        image.info["transparency"] = transparent * _SAMPLE_SCALE[stored_as]
    elif stored_as == "RGB;16B" and transparent is not None:
        image.info["transparency"] = tuple(sample >> 8 for sample in transparent)
    if not image.has_transparency_data:
        return image.convert("RGB")
    # A copy of the largest picture takes 64 MB.
    return on_ground(image if image.mode == "RGBA" else image.convert("RGBA"))


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
    return on_ground(Image.merge("RGBA", (grey, grey, grey, alpha)))


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
