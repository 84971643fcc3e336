"""The parts of a PNG file."""

from __future__ import annotations

import struct

from vision.containers.parts import MOST_EXIF_BYTES, Parts

#: A chunk of its own for each kilobyte of the largest file, and room; each costs some 6 us.
MOST_CHUNKS = 10_000


def png_parts(data: bytes) -> Parts:
    """Return what the PNG file `data` has beside metadata and further frames.

    What is cut off stays so. Raises ValueError where there are too many chunks.
    """
    kept, exif, place = [data[:8]], b"", 8
    for _ in range(MOST_CHUNKS):
        if place + 8 > len(data):
            return Parts(b"".join([*kept, data[place:]]), exif)
        length, name = struct.unpack_from(">I4s", data, place)
        after = place + 12 + length
        if name == b"eXIf":
            exif = data[place + 8 : after - 4][:MOST_EXIF_BYTES]
        # A capital letter first stands for a chunk that a picture needs (PNG 3, 5.4).
        elif not name[0] & 0x20 or name == b"tRNS":
            kept.append(data[place:after])
        if name == b"IEND":
            return Parts(b"".join(kept), exif)
        place = after
    raise ValueError(f"more than {MOST_CHUNKS} chunks")
