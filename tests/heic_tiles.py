"""Files of boxes, as cameras of phones write HEIC: an image of tiles, a thumbnail beside it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

HEIC = Path(__file__).parent / "pictures"

#: The size of the picture whose bytes each tile is.
TILE = (320, 240)


def box(name: bytes, *parts: bytes) -> bytes:
    """A box of an AVIF or HEIC file."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def dimg(source: int, targets: Sequence[int]) -> bytes:
    """The reference of an item to those that it is made of."""
    return box(b"dimg", struct.pack(f">HH{len(targets)}H", source, len(targets), *targets))


def contents(data: bytes, name: bytes) -> bytes:
    """What the first box of this name holds."""
    place = data.index(name)
    (length,) = struct.unpack_from(">I", data, place - 4)
    return data[place + 4 : place - 4 + length]


def of_tiles(columns: int, rows: int, size: tuple[int, int], turns: int = 0) -> bytes:
    """A HEIC of so many tiles, all of them the drawing, and of a thumbnail, the drawing too.

    Turned by so many quarters against the clock.
    """
    start = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    return start + tiles_behind(start, "drawing", TILE, columns, rows, size, turns)


def tiles_behind(
    start: bytes,
    name: str,
    tile: tuple[int, int],
    columns: int,
    rows: int,
    size: tuple[int, int],
    turns: int = 0,
) -> bytes:
    """What makes `start` a HEIC of tiles; each is the picture of this name, which has that size."""
    stored = (HEIC / f"{name}.heic").read_bytes()
    tiles = list(range(2, 2 + columns * rows))
    thumbnail = tiles[-1] + 1
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size)
    properties = box(
        b"ipco",
        box(b"hvcC", contents(stored, b"hvcC")),
        box(b"ispe", bytes(4), struct.pack(">II", *tile)),
        box(b"ispe", bytes(4), struct.pack(">II", *size)),
        box(b"irot", bytes([turns])),
    )
    coded = [(item, b"\x81\x02") for item in (*tiles, thumbnail)]
    picture = contents(stored, b"mdat")
    length = len(start) + len(tiled_meta(tiles, grid, properties, coded, 0, len(picture)))
    made = tiled_meta(tiles, grid, properties, coded, length + 8, len(picture))
    return made + box(b"mdat", picture)


def tiled_meta(
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
