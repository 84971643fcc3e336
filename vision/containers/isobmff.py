"""The parts of a file of boxes, AVIF or HEIC (ISO/IEC 14496-12 and 23008-12): its primary image.

Places in such a file count from its beginning, so nothing is cut off: what no decoder shall look
into gets a name that every decoder skips.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vision.containers.parts import Parts

#: At the top, or in one box; a file of a camera has 10 to 60.
MOST_BOXES = 1_000
#: A picture of 8,000 x 6,000 in tiles of 512 x 512 has 190.
MOST_ITEMS = 1_000
#: Which items belong to which: one for each tile, and room.
MOST_REFERENCES = 10_000
#: libavif decodes a tile at the size that its own bytes say: one of 11,900 a side took 0.6 s.
MOST_AVIF_TILES = 4
#: An image, its alpha, and tiles that reach over its edges. A small one may have one large tile.
MOST_TIMES, MOST_PIXELS_OVER = 4, 2**22
#: Properties of items stand in one box for each way to write them.
MOST_ASSOCIATIONS = 4

#: What a decoder needs at the top: brands, boxes about images, their bytes. `moov` and `moof` are
#: films, whose first frame is the primary image, too; `mini` is another way to write `meta`.
_TOPS = frozenset({b"ftyp", b"meta", b"mdat"})
#: The standards allow one of each, as of `meta`, of which libheif 1.23 reads the last. Where a
#: decoder read another than was judged here, no limit would hold.
_SINGLE_IN_META = (b"pitm", b"iinf", b"iprp", b"iloc", b"iref")

#: Under this name a box holds free space, and an item something unknown.
_SKIPPED = b"free"
#: In `meta`, `iinf` and others, a version and flags come before what they hold.
_VERSION_BYTES = 4


@dataclass(frozen=True)
class _Box:
    """A box: its name, where the four bytes of that are, and where its contents begin and end."""

    name: bytes
    name_at: int
    start: int
    end: int


def avif_parts(data: bytes) -> Parts:
    """Return what `data` has beside the primary image hidden; see `heic_parts`."""
    return _parts(data, MOST_AVIF_TILES)


def heic_parts(data: bytes) -> Parts:
    """Return `data` with nothing to be seen in it but the primary image, its tiles and its alpha.

    The size is the one before rotations. Raises ValueError if there is no primary image, it is made
    of more or larger ones than its size needs, or the boxes are not well formed.
    """
    return _parts(data, MOST_ITEMS)


def _parts(data: bytes, most_tiles: int) -> Parts:
    kept = bytearray(data)
    tops = list(_boxes(data, 0, len(data)))
    for box in tops:
        if box.name not in _TOPS:
            kept[box.name_at : box.name_at + 4] = _SKIPPED
        if box.name == b"ftyp":
            kept[box.start : box.end] = _as_still(data[box.start : box.end])
    _check_single(tops, (b"meta",))
    meta = _one(tops, b"meta")
    inner = list(_boxes(data, meta.start + _VERSION_BYTES, meta.end))
    _check_single(inner, _SINGLE_IN_META)
    primary = _primary(data, _one(inner, b"pitm"))
    used = _used(data, inner, primary)
    for item, kind_at in _items(data, _one(inner, b"iinf")):
        if item not in used:
            kept[kind_at : kind_at + 4] = _SKIPPED
    sizes = _sizes(data, _one(inner, b"iprp"))
    if any(item not in sizes for item in used):
        raise ValueError("an image has no size")
    if used.total() > 2 * (most_tiles + 1):  # an alpha may have as many
        raise ValueError(f"more than {most_tiles} tiles")
    pixels = sum(sizes[item][0] * sizes[item][1] * times for item, times in used.items())
    width, height = sizes[primary]
    if pixels > MOST_TIMES * width * height + MOST_PIXELS_OVER:
        raise ValueError("tiles of many more pixels than the image")
    return Parts(bytes(kept), size=(width, height))


def _boxes(data: bytes, start: int, end: int) -> Iterator[_Box]:
    """Yield the boxes between two places. Raises ValueError if they do not fill them."""
    for _ in range(MOST_BOXES):
        if start + 8 > end:
            return
        length, name = struct.unpack_from(">I4s", data, start)
        inside = start + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, inside)
            inside += 8
        after = end if length == 0 else start + length
        if not inside <= after <= end:
            raise ValueError("a box is cut off, or reaches beyond its own")
        yield _Box(name, start + 4, inside, after)
        start = after
    raise ValueError(f"more than {MOST_BOXES} boxes")


def _check_single(boxes: list[_Box], names: Sequence[bytes]) -> None:
    """Raise ValueError if there are several boxes of one of these names."""
    counts = Counter(box.name for box in boxes)
    for name in names:
        if counts[name] > 1:
            raise ValueError(f"more than one box {name.decode()}")


def _one(boxes: list[_Box], name: bytes) -> _Box:
    """Return the first box of this name; raise ValueError if there is none."""
    for box in boxes:
        if box.name == name:
            return box
    raise ValueError(f"no box {name.decode()}")


def _as_still(brands: bytes) -> bytes:
    """Return the brands of a file without those that promise a film."""
    for film, still in ((b"avis", b"avif"), (b"hevc", b"heic"), (b"msf1", b"mif1")):
        brands = brands.replace(film, still)
    return brands


def _primary(data: bytes, box: _Box) -> int:
    wide = data[box.start] > 0
    return int(struct.unpack_from(">I" if wide else ">H", data, box.start + _VERSION_BYTES)[0])


def _items(data: bytes, box: _Box) -> Iterator[tuple[int, int]]:
    """Yield the number of each item, and the place of the four bytes of its kind."""
    start = box.start + _VERSION_BYTES + (4 if data[box.start] else 2)
    for number, entry in enumerate(_boxes(data, start, box.end)):
        if number >= MOST_ITEMS:
            raise ValueError(f"more than {MOST_ITEMS} items")
        version = data[entry.start]
        if entry.name != b"infe" or version not in (2, 3):
            raise ValueError("an item of a kind that images don't have")
        wide = version == 3
        place = entry.start + _VERSION_BYTES
        (item,) = struct.unpack_from(">I" if wide else ">H", data, place)
        # After the number of the item, that of its protection.
        yield item, place + (4 if wide else 2) + 2


def _used(data: bytes, inner: list[_Box], primary: int) -> Counter[int]:
    """Return how often the primary item, what it is made of, and its alpha are decoded.

    Raises ValueError for an image that is made of others that are made of others: each such step
    could multiply the work.
    """
    made: dict[int, list[int]] = {}
    shown = [primary]
    for kind, source, targets in _references(data, inner):
        if kind == b"dimg":
            made.setdefault(source, []).extend(targets)
        elif kind == b"auxl" and primary in targets:
            shown.append(source)
    used = Counter(shown)
    for item in shown:
        tiles = made.get(item, [])
        if not made.keys().isdisjoint(tiles):
            raise ValueError("an image of images of images")
        used.update(tiles)
    return used


def _references(data: bytes, inner: list[_Box]) -> Iterator[tuple[bytes, int, list[int]]]:
    """Yield the kind of each reference, the item it comes from, and those it leads to."""
    left = MOST_REFERENCES
    for box in inner:
        if box.name != b"iref":
            continue
        wide = data[box.start] > 0
        letter, width = ("I", 4) if wide else ("H", 2)
        for entry in _boxes(data, box.start + _VERSION_BYTES, box.end):
            source, count = struct.unpack_from(f">{letter}H", data, entry.start)
            left -= count
            if left < 0:
                raise ValueError(f"more than {MOST_REFERENCES} references")
            place = entry.start + width + 2
            targets = struct.unpack_from(f">{count}{letter}", data, place)
            yield entry.name, source, list(targets)


def _sizes(data: bytes, properties: _Box) -> dict[int, tuple[int, int]]:
    """Return width and height of each item that has them."""
    boxes = list(_boxes(data, properties.start, properties.end))
    _check_single(boxes, (b"ipco",))
    store = _one(boxes, b"ipco")
    known = list(_boxes(data, store.start, store.end))
    found: dict[int, tuple[int, int]] = {}
    for box in [box for box in boxes if box.name == b"ipma"][:MOST_ASSOCIATIONS]:
        for item, number in _associated(data, box):
            if 0 < number <= len(known) and known[number - 1].name == b"ispe":
                place = known[number - 1].start + _VERSION_BYTES
                width, height = struct.unpack_from(">II", data, place)
                found.setdefault(item, (width, height))
    return found


def _associated(data: bytes, box: _Box) -> Iterator[tuple[int, int]]:
    """Yield each item with the number of each of its properties, from 1 on."""
    version, flags = data[box.start], data[box.start + 3]
    number, index = (">I" if version else ">H"), (">H" if flags & 1 else ">B")
    mask = 0x7FFF if flags & 1 else 0x7F  # the first bit says that a property is essential
    (count,) = struct.unpack_from(">I", data, box.start + _VERSION_BYTES)
    place = box.start + _VERSION_BYTES + 4
    if count > MOST_ITEMS:
        raise ValueError(f"properties of more than {MOST_ITEMS} items")
    left = MOST_REFERENCES
    for _ in range(count):
        (item,) = struct.unpack_from(number, data, place)
        place += struct.calcsize(number)
        length, width = data[place], struct.calcsize(index)
        place += 1
        left -= length
        if left < 0:
            raise ValueError(f"more than {MOST_REFERENCES} properties")
        for at in range(place, place + length * width, width):
            yield item, struct.unpack_from(index, data, at)[0] & mask
        place += length * width
