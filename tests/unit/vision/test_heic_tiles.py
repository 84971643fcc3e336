"""HEIC as cameras of phones write it: an image of tiles, a thumbnail beside it, turned by a box.

What is judged of such a file is all that a decoder sees of it.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from contract import errors
from tests.heic_tiles import box, of_tiles
from tests.unit.vision.picture_files import ALL, drawing
from vision.containers.isobmff import heic_parts
from vision.picture import decode, inspect


def test_a_picture_of_tiles_is_seen_as_a_whole() -> None:
    data = of_tiles(3, 2, (900, 450))
    found = decode(data, ALL)
    assert inspect(data, ALL) == found.size == (900, 450)
    expected = Image.new("RGB", (960, 480))
    for left in (0, 320, 640):
        for top in (0, 240):
            expected.paste(drawing(), (left, top))
    difference = np.abs(np.asarray(found, int) - np.asarray(expected.crop((0, 0, 900, 450)), int))
    assert difference.mean() < 8


def test_a_picture_of_tiles_is_turned() -> None:
    data = of_tiles(2, 1, (640, 240), turns=1)
    assert inspect(data, ALL) == (640, 240)
    assert decode(data, ALL).size == (240, 640)


def test_a_small_picture_may_have_a_larger_tile() -> None:
    assert decode(of_tiles(1, 1, (210, 205)), ALL).size == (210, 205)


def test_many_more_tiles_than_the_picture_needs_are_refused() -> None:
    assert decode(of_tiles(12, 17, (3840, 4080)), ALL).size == (3840, 4080)
    with pytest.raises(errors.InvalidImageContent):
        inspect(of_tiles(12, 17, (300, 210)), ALL)


#: Boxes of boxes, and how many bytes come before those.
CONTAINERS = {b"meta": 4, b"iprp": 0}


def repeated(data: bytes, name: bytes) -> bytes:
    """The boxes `data` with a second one of this name behind each."""
    made, place = b"", 0
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + length]
        if kind in CONTAINERS:
            begin = CONTAINERS[kind]
            body = body[:begin] + repeated(body[begin:], name)
        made += box(kind, body) * (2 if kind == name else 1)
        place += length
    return made


@pytest.mark.parametrize("name", [b"meta", b"pitm", b"iinf", b"iprp", b"ipco", b"iloc", b"iref"])
def test_a_box_of_which_a_decoder_may_read_another_than_was_judged_is_refused(name: bytes) -> None:
    data = of_tiles(3, 2, (900, 450))
    assert repeated(data, b"none") == data
    assert inspect(repeated(data, b"irot"), ALL) == (900, 450)
    with pytest.raises(errors.InvalidImageContent):
        inspect(repeated(data, name), ALL)


@pytest.mark.parametrize("name", [b"moov", b"moof", b"mini", b"uuid"])
def test_a_box_that_no_picture_needs_is_hidden(name: bytes) -> None:
    data = of_tiles(1, 1, (300, 210))
    hidden = heic_parts(data).data + box(b"free", bytes(8))
    assert heic_parts(data + box(name, bytes(8))).data == hidden
