"""The parts of a TIFF file (TIFF 6.0): its first page."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from contract import causes
from vision.containers.parts import Parts

#: The usual first directory has 20 or so.
MOST_ENTRIES = 1_000
#: Of the values of a tag: the offsets of as many strips as are allowed, and room.
MOST_TAG_BYTES = 2**17
#: A row each of the largest picture, in three planes, and room; each costs the reader some 5 us.
MOST_STRIPS = 20_000
#: A tile is decoded into memory of its own.
MOST_TILE_PIXELS = 2**24

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ORIENTATION = 256, 257, 258, 259, 274
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 322, 323, 339
_COLOURS = 262
#: Besides these: fill order, samples per pixel, rows per strip, planes, predictor, colours, extra
#: samples, tables of JPEG, subsampling. All else is metadata.
_KEPT = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS),
    *(_TILE_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT),
    *(_COLOURS, 266, 277, 278, 284, 317, 320, 338, 347, 530),
}
#: Bytes of a value by its type: BYTE, SHORT, LONG, UNDEFINED.
_SIZES = {1: 1, 3: 2, 4: 4, 7: 1}
_LETTERS = {1: "B", 3: "H", 4: "I", 7: "B"}
#: None, LZW, JPEG, deflate under its two numbers, PackBits.
_COMPRESSIONS = {1, 5, 7, 8, 32_946, 32_773}
#: Pillow scales 12 bits as if they were 16, and knows no way from CIE Lab to RGB.
_SAMPLE_BITS = {1, 2, 4, 8, 16}
_COLOUR_KINDS = {0, 1, 2, 3, 5, 6}
_UNSIGNED = 1


@dataclass(frozen=True)
class _Entry:
    """An entry of a directory: its type, its count, the four bytes after them, and its values."""

    kind: int
    count: int
    field: bytes
    values: tuple[int, ...]


def tiff_parts(data: bytes) -> Parts:
    """Return the TIFF file `data` with a directory of the first page alone, without metadata.

    Raises NotSupportImage for a compression or samples that are not taken, and ValueError if the
    directory is not well formed or names more bytes than the file has.
    """
    order = "<" if data[:2] == b"II" else ">"
    entries = _entries(data, order)
    orientation = entries.pop(_ORIENTATION, None)
    size = _one(entries, _WIDTH), _one(entries, _HEIGHT)
    _check_kind(entries)
    _check_strips(entries, len(data))
    # Offsets in the entries count from the beginning of the file, so it stays where it is.
    place = len(data) + len(data) % 2
    head = data[:4] + struct.pack(order + "I", place)
    rows = (
        struct.pack(order + "HHI", tag, entry.kind, entry.count) + entry.field
        for tag, entry in sorted(entries.items())
    )
    directory = struct.pack(order + "H", len(entries)) + b"".join(rows) + bytes(4)
    padding = bytes(place - len(data))
    exif = b"" if orientation is None else _exif(orientation)
    return Parts(head + data[8:] + padding + directory, exif, size)


def _entries(data: bytes, order: str) -> dict[int, _Entry]:
    """Return the entries of the first directory that pixels need, by tag."""
    (place,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, place)
    if count > MOST_ENTRIES:
        raise ValueError(f"more than {MOST_ENTRIES} entries")
    found: dict[int, _Entry] = {}
    for number in range(count):
        start = place + 2 + 12 * number
        tag, kind, items = struct.unpack_from(order + "HHI", data, start)
        if (tag not in _KEPT and tag != _ORIENTATION) or tag in found:
            continue
        if kind not in _SIZES:
            raise ValueError(f"tag {tag} has type {kind}")
        length = items * _SIZES[kind]
        if not 0 < length <= MOST_TAG_BYTES:
            raise ValueError(f"tag {tag} has {items} values")
        field = data[start + 8 : start + 12]
        at = start + 8 if length <= 4 else int(struct.unpack(order + "I", field)[0])
        values = struct.unpack_from(f"{order}{items}{_LETTERS[kind]}", data, at)
        found[tag] = _Entry(kind, items, field, values)
    return found


def _one(entries: dict[int, _Entry], tag: int) -> int:
    if tag not in entries:
        raise ValueError(f"tag {tag} is missing")
    return entries[tag].values[0]


def _check_kind(entries: dict[int, _Entry]) -> None:
    """Raise NotSupportImage for what is rare, or costs more than it is worth."""
    compression = entries[_COMPRESSION].values[0] if _COMPRESSION in entries else 1
    if compression not in _COMPRESSIONS:
        raise causes.KIND.fault(format="TIFF", kind=f"compression {compression}")
    bits = max(entries[_BITS].values) if _BITS in entries else 1
    if bits not in _SAMPLE_BITS:
        raise causes.KIND.fault(format="TIFF", kind=f"{bits} bits a sample")
    if _COLOURS in entries and entries[_COLOURS].values[0] not in _COLOUR_KINDS:
        raise causes.KIND.fault(format="TIFF", kind="colours other than RGB, CMYK, grey and YCbCr")
    formats = entries[_SAMPLE_FORMAT].values if _SAMPLE_FORMAT in entries else ()
    if any(each != _UNSIGNED for each in formats):
        raise causes.KIND.fault(format="TIFF", kind="samples that are not whole numbers from 0")


def _check_strips(entries: dict[int, _Entry], length: int) -> None:
    """Raise ValueError if strips or tiles are too many or too large, or name bytes twice."""
    tiled = _TILE_OFFSETS in entries
    offsets = entries.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
    counts = entries.get(_TILE_BYTES if tiled else _STRIP_BYTES)
    if offsets is None or counts is None:
        raise ValueError("no offsets, or no lengths of them")
    if offsets.count != counts.count or offsets.count > MOST_STRIPS:
        raise ValueError(f"{offsets.count} offsets and {counts.count} lengths")
    if sum(counts.values) > length:
        raise ValueError("strips of more bytes than the file has")
    if tiled and _one(entries, _TILE_WIDTH) * _one(entries, _TILE_HEIGHT) > MOST_TILE_PIXELS:
        raise ValueError(f"tiles of more than {MOST_TILE_PIXELS} pixels")


def _exif(orientation: _Entry) -> bytes:
    """Return EXIF data with nothing but the orientation."""
    (value, *_) = orientation.values
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, _ORIENTATION, 3, 1, value & 0xFFFF, 0, 0)
