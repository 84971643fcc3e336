"""The formats of the pictures that are taken.

The first bytes decide, whatever a file is called. Nothing but these readers of Pillow is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from vision.container import Parts, jpeg_parts, png_parts


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of picture files."""

    name: str  #: for clients; `contract.errors.NotSupportImage` has it too
    start: re.Pattern[bytes]  #: matches the beginning of every file of the format, and no other
    #: Returns what the reader needs of a file, without metadata; raises ValueError if it is not
    #: well formed.
    parts_of: Callable[[bytes], Parts]
    reader: type[ImageFile]
    has_checksums: bool = False  #: whether `reader.verify` finds damage that decoding does not


FORMATS = (
    Format(
        name="JPEG",
        start=re.compile(rb"\xff\xd8\xff"),
        parts_of=jpeg_parts,
        reader=JpegImageFile,
    ),
    Format(
        name="PNG",
        start=re.compile(rb"\x89PNG\r\n\x1a\n"),
        parts_of=png_parts,
        reader=PngImageFile,
        has_checksums=True,
    ),
)


def format_of(data: bytes) -> Format | None:
    """Return the format of the file `data`, or None if it is none that is taken."""
    return next((one for one in FORMATS if one.start.match(data)), None)
