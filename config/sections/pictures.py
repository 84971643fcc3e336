"""The settings of pictures: which files are taken, and what is kept of them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode

from config.allow_list import split_list

FormatName = Literal["JPEG", "PNG", "WebP", "AVIF", "BMP", "GIF", "TIFF", "HEIC"]

_NAMES: dict[str, FormatName] = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
    "avif": "AVIF",
    "bmp": "BMP",
    "gif": "GIF",
    "tiff": "TIFF",
    "heic": "HEIC",
}

#: What a format needs beyond Pillow's own code, and how to get it.
_NEEDED = {
    "WebP": ("PIL._webp", "install a Pillow that was built with it"),
    "AVIF": ("PIL._avif", "install a Pillow that was built with it"),
    "HEIC": ("pi_heif", "install snapsku[heic]"),
}


def _names(value: Any) -> Any:
    """Return the names of a comma-separated text as they are written here, in any case."""
    names = (_NAMES.get(str(name).lower(), name) for name in split_list(value))
    return tuple(dict.fromkeys(names))


class PictureSettings(BaseSettings):
    """The settings of pictures."""

    # Pictures
    picture_formats: Annotated[tuple[FormatName, ...], NoDecode, BeforeValidator(_names)] = Field(
        ("JPEG", "PNG"),
        min_length=1,
        description="formats that are taken, comma-separated: of JPEG, PNG, WebP, AVIF, BMP, GIF,"
        " TIFF, and HEIC, which needs the extra `heic`",
    )
    image_bytes: int = Field(
        3_932_160,
        ge=0,
        description="an image file is smaller than this; 0: no limit, but 64 MiB for one that is"
        " fetched",
    )
    image_min_side: int = Field(201, ge=1, description="pixels, shortest side of an image")
    image_max_side: int = Field(
        4096,
        ge=1,
        description="pixels, longest side of an image; a JPEG of more than 4096 x 4096 pixels is"
        " scaled down while it is decoded",
    )
    decode_memory_bytes: int = Field(
        2**30,
        ge=0,
        description="memory that decoding an image may take, 0: no limit; measured: 23 a pixel",
    )
    keep_pictures: bool = Field(True, description="keep a small JPEG of each image")
    kept_side: int = Field(640, ge=64, description="pixels, longest side of a kept picture")
    geometry: bool = Field(
        True,
        description="keep local features of each image, 15 kB at most, and put the first 50 images"
        " of a search in order by them, too",
    )

    @model_validator(mode="after")
    def _can_be_read(self) -> PictureSettings:
        if self.image_min_side > self.image_max_side:
            raise ValueError("image_min_side must not be more than image_max_side")
        for name in self.picture_formats:
            module, cure = _NEEDED.get(name, ("", ""))
            if module and find_spec(module) is None:
                raise ValueError(f"picture_formats names {name}, which can't be read here: {cure}")
        return self
