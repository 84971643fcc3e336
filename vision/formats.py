"""The formats of the pictures that can be taken; the settings say which of them are.

The first bytes decide, whatever a file is called. Nothing but these readers is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from PIL import AvifImagePlugin
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from vision.containers.bmp import bmp_parts
from vision.containers.gif import gif_parts
from vision.containers.isobmff import avif_parts, heic_parts
from vision.containers.jpeg import jpeg_parts
from vision.containers.parts import Parts
from vision.containers.png import png_parts
from vision.containers.tiff import tiff_parts
from vision.containers.webp import webp_parts
from vision.heic import read_heic

# Threads would take from the memory of a picture, and from the processor of others.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of picture files."""

    name: str  #: for clients and settings; `contract.errors.NotSupportImage` has it too
    start: re.Pattern[bytes]  #: matches the beginning of every file of the format, and no other
    #: Returns what the reader needs of a file, without metadata; raises ValueError if it is not
    #: well formed, NotSupportImage if it is of a kind that is not taken.
    parts_of: Callable[[bytes], Parts]
    reader: Callable[[BinaryIO], ImageFile]
    #: Whether `verify` of the image finds damage that decoding does not.
    has_checksums: bool = False
    #: Whether `draft` of the image makes it smaller while it is decoded.
    scales: bool = False


def _brands(majors: bytes, others: bytes) -> re.Pattern[bytes]:
    """Return what a file of boxes begins with: its brand, or one of all images with it behind."""
    general = rb"(?:mif1|msf1|miaf).{4}(?:.{4}){0,12}?"
    return re.compile(rb"(?s).{4}ftyp(?:%b|%b%b)" % (majors, general, others))


FORMATS = (
    Format(
        name="JPEG",
        start=re.compile(rb"\xff\xd8\xff"),
        parts_of=jpeg_parts,
        reader=JpegImageFile,
        scales=True,
    ),
    Format(
        name="PNG",
        start=re.compile(rb"\x89PNG\r\n\x1a\n"),
        parts_of=png_parts,
        reader=PngImageFile,
        has_checksums=True,
    ),
    Format(
        name="WebP",
        start=re.compile(rb"(?s)RIFF.{4}WEBPVP8[ LX]"),
        parts_of=webp_parts,
        reader=WebPImageFile,
    ),
    Format(
        name="AVIF",
        start=_brands(rb"avi[fs]", rb"avi[fs]"),
        parts_of=avif_parts,
        reader=AvifImageFile,
    ),
    Format(
        name="BMP",
        # Then the size of the file, two times nothing, where the pixels are, and the size of the
        # header: text that begins with BM is none.
        start=re.compile(rb"(?s)BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
        parts_of=bmp_parts,
        reader=BmpImageFile,
    ),
    Format(
        name="GIF",
        start=re.compile(rb"GIF8[79]a"),
        parts_of=gif_parts,
        reader=GifImageFile,
    ),
    Format(
        name="TIFF",
        start=re.compile(rb"II\*\0|MM\0\*"),
        parts_of=tiff_parts,
        reader=TiffImageFile,
    ),
    Format(
        name="HEIC",
        start=_brands(rb"hei[cxms]|hev[cxms]", rb"hei[cxms]"),
        parts_of=heic_parts,
        reader=read_heic,
    ),
)


def format_of(data: bytes) -> Format | None:
    """Return the format of the file `data`, or None if it is none of the table."""
    return next((one for one in FORMATS if one.start.match(data)), None)
