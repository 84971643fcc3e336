"""The parts of a GIF file (GIF89a)."""

from __future__ import annotations

import struct

from vision.containers.parts import Parts

#: Comments and settings of an animation before the first frame are few.
MOST_EXTENSIONS = 1_000
#: Blocks of 255 bytes make 15,000 of the largest file; each costs some 120 ns.
MOST_BLOCKS = 200_000

_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL = 0xF9


def gif_parts(data: bytes) -> Parts:
    """Return the first frame of the GIF file `data`, without comments.

    What is cut off stays so. Raises ValueError if no frame begins, or only after too much else.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place = 13 + _table(flags)
    head, control = data[:place], b""
    blocks = MOST_BLOCKS
    for _ in range(MOST_EXTENSIONS):
        if place + 10 > len(data):
            break
        if data[place] == _IMAGE:
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, place + 1)
            after, _ = _after_blocks(data, place + 10 + _table(flags) + 1, blocks)
            # A frame may reach over the screen; the reader widens it then.
            size = max(width, left + wide), max(height, top + high)
            return Parts(head + control + data[place:after] + bytes([_END]), size=size)
        if data[place] != _EXTENSION:
            break
        after, blocks = _after_blocks(data, place + 2, blocks)
        if data[place + 1] == _GRAPHIC_CONTROL:
            control = data[place:after]
        place = after
    raise ValueError("no frame begins, or only after too many extensions")


def _table(flags: int) -> int:
    """Return how many bytes the colours take that such flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, place: int, most: int) -> tuple[int, int]:
    """Return where the blocks at `place` end, or the file, and how many of `most` are left.

    Raises ValueError if there are more.
    """
    while place < len(data):
        most -= 1
        if most < 0:
            raise ValueError(f"more than {MOST_BLOCKS} blocks")
        if not data[place]:
            return place + 1, most
        place += data[place] + 1
    return len(data), most
