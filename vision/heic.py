"""The reader of HEIC files, of the package pi-heif, which few installations have."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


def read_heic(file: BinaryIO) -> ImageFile:
    """Return the primary image, its header read. Raises SyntaxError if it can't be read.

    When its pixels are loaded, it is upright already.
    """
    # Imported here: the API judges a file by its boxes, and most services take no HEIC.
    from pi_heif import HeifImageFile, options

    # Threads would take from the memory of a picture, and from the processor of others.
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    image: ImageFile = HeifImageFile(file)
    return image
