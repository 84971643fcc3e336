"""HEIC as cameras of phones write it: an image of tiles, a thumbnail beside it, turned by a box."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from contract import errors
from tests.hostile_formats import box, dimg
from tests.unit.vision.picture_files import ALL, drawing, heic
from vision.picture import decode, inspect

#: Of the picture whose bytes each tile is.
TILE = (320, 240)


def contents(data: bytes, name: bytes) -> bytes:
    """What the first box of this name holds."""
    place = data.index(name)
    (length,) = struct.unpack_from(">I", data, place - 4)
    return data[place + 4 : place - 4 + length]


def of_tiles(columns: int, rows: int, size: tuple[int, int], turns: int = 0) -> bytes:
    """A HEIC of so many tiles, all of them the drawing, and of a thumbnail, the drawing too.

    Turned by so many quarters against the clock.
    """
    stored = heic("drawing")
    tiles = list(range(2, 2 + columns * rows))
    thumbnail = tiles[-1] + 1
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size)
    properties = box(
        b"ipco",
        box(b"hvcC", contents(stored, b"hvcC")),
        box(b"ispe", bytes(4), struct.pack(">II", *TILE)),
        box(b"ispe", bytes(4), struct.pack(">II", *size)),
        box(b"irot", bytes([turns])),
    )
    coded = [(item, b"\x81\x02") for item in (*tiles, thumbnail)]
    start = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    picture = contents(stored, b"mdat")
    length = len(start) + len(meta(tiles, grid, properties, coded, 0, len(picture)))
    return (
        start
        + meta(tiles, grid, properties, coded, length + 8, len(picture))
        + box(b"mdat", picture)
    )


def meta(
    tiles: Sequence[int],
    grid: bytes,
    properties: bytes,
    coded: Sequence[tuple[int, bytes]],
    place: int,
    length: int,
) -> bytes:
    items = [(1, b"grid"), *((item, b"hvc1") for item, _ in coded)]
    entries = [
        box(b"infe", b"\2\0\0\0", struct.pack(">HH", item, 0), kind, b"\0") for item, kind in items
    ]
    owned = [(1, b"\x83\x04"), *coded]
    places = [struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(grid))]
    places += [struct.pack(">HHHHII", item, 0, 0, 1, place, length) for item, _ in coded]
    thumbnail = box(b"thmb", struct.pack(">HHH", coded[-1][0], 1, 1))
    return box(
        b"meta",
        bytes(4),
        box(b"hdlr", bytes(8), b"pict", bytes(13)),
        box(b"pitm", bytes(4), struct.pack(">H", 1)),
        box(b"iinf", bytes(4), struct.pack(">H", len(items)), *entries),
        box(b"iref", bytes(4), dimg(1, tiles), thumbnail),
        box(
            b"iprp",
            properties,
            box(
                b"ipma",
                bytes(4),
                struct.pack(">I", len(owned)),
                *(struct.pack(">HB", item, len(each)) + each for item, each in owned),
            ),
        ),
        box(b"iloc", b"\1\0\0\0", b"\x44\0", struct.pack(">H", len(places)), *places),
        box(b"idat", grid),
    )


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
