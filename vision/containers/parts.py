"""What is left of a picture file for its decoder."""

from __future__ import annotations

from dataclasses import dataclass

#: As many bytes as a segment of a JPEG file may hold; the orientation stands at the beginning.
MOST_EXIF_BYTES = 65_533


@dataclass(frozen=True)
class Parts:
    """A file without its metadata, the beginning of its EXIF data, and its size in pixels."""

    data: bytes
    exif: bytes = b""  #: b"" if there is none
    #: Width and height as stored. None where the reader of the format reads nothing but a header,
    #: without native code, before pixels are asked for.
    size: tuple[int, int] | None = None
    #: Whether its decoder keeps all of the picture, even if `draft` makes that smaller.
    is_held_whole: bool = False
