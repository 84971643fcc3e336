"""The parts of a BMP file."""

from __future__ import annotations

import struct

from contract import causes
from vision.containers.parts import Parts

_CORE_HEADER = 12
_PLAIN, _MASKS = 0, 3


def bmp_parts(data: bytes) -> Parts:
    """Return the BMP file `data`, which has nothing beside its pixels.

    Raises NotSupportImage if it is compressed: Pillow decodes that in Python, for up to 1.8 s.
    Raises ValueError if its header is cut off, or says that it has no pixels.
    """
    (header,) = struct.unpack_from("<I", data, 14)
    if header == _CORE_HEADER:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        # A height below zero stands for rows from top to bottom.
        width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
        if compression not in (_PLAIN, _MASKS):
            raise causes.KIND.fault(format="BMP", kind=f"compression {compression}")
    if width <= 0 or height == 0:
        raise ValueError("no pixels")
    return Parts(data, size=(width, abs(height)))
