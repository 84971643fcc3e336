"""The parts of a WebP file (RFC 9649)."""

from __future__ import annotations

import struct

from vision.containers.parts import MOST_EXIF_BYTES, Parts

#: An animation has a chunk for each frame; each costs some 0.3 us.
MOST_CHUNKS = 10_000

_ALPHA, _ANIMATION = 0x10, 0x02
_LOSSY_START = b"\x9d\x01\x2a"
_LOSSLESS_START = b"\x2f"


def webp_parts(data: bytes) -> Parts:
    """Return what the WebP file `data` has beside metadata and further frames.

    Raises ValueError if it is cut off, has too many chunks, or none that tells its size.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) + 1:  # some writers leave out the last byte, which only fills
        raise ValueError("cut off")
    kept, exif, place = [], b"", 12
    size: tuple[int, int] | None = None
    seen: set[bytes] = set()
    for _ in range(MOST_CHUNKS):
        if place + 8 > end:
            break
        name, length = struct.unpack_from("<4sI", data, place)
        body = data[place + 8 : place + 8 + length]
        if len(body) < length:
            raise ValueError("a chunk is cut off")
        place += 8 + length + length % 2
        if name == b"EXIF":
            exif = exif or body[:MOST_EXIF_BYTES]
        if name not in (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L") or name in seen:
            continue
        seen.add(name)
        size = size or _size(name, body)
        if name == b"VP8X":
            body = bytes([body[0] & (_ALPHA | _ANIMATION)]) + body[1:]
        kept.append(struct.pack("<4sI", name, length) + body + bytes(length % 2))
    else:
        raise ValueError(f"more than {MOST_CHUNKS} chunks")
    if size is None:
        raise ValueError("no chunk tells the size")
    chunks = b"".join(kept)
    return Parts(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks, exif, size)


def _size(name: bytes, body: bytes) -> tuple[int, int] | None:
    """Return width and height as the chunk tells them; None if it does not."""
    if name == b"VP8X" and len(body) >= 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if name == b"VP8 " and body[3:6] == _LOSSY_START and len(body) >= 10:
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    if name == b"VP8L" and body[:1] == _LOSSLESS_START and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None
