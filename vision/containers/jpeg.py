"""The parts of a JPEG file."""

from __future__ import annotations

import re

from vision.containers.parts import Parts

#: An ICC profile or long XMP comes in segments of 64 kB; each costs about a microsecond.
MOST_SEGMENTS = 1_000
#: The usual progressive files have 10 or so. A scan of 33 bytes costs the decoder 12 ms at
#: 4096 x 4096: a file of 3.9 MB could keep it busy for twenty minutes, as many as here for 1.2 s.
MOST_SCANS = 100

_EXIF = b"Exif\0\0"
_START_OF_SCAN, _END_OF_IMAGE, _APP1, _COMMENT = 0xDA, 0xD9, 0xE1, 0xFE
#: JFIF and Adobe tell how colours are meant; other applications' segments are metadata.
_METADATA = {*range(0xE0, 0xF0), _COMMENT} - {0xE0, 0xEE}
#: The headers of frames (SOF; ITU-T T.81, table B.1), and which of them are progressive.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
#: Stuffed or filling bytes, and markers that no segment follows.
_STANDALONE = {0x00, 0x01, *range(0xD0, 0xD9)}
#: What ends a scan. 0xFF as a second byte only fills; the marker is in the last pair.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_FILLED = re.compile(rb"\xff+")


def jpeg_parts(data: bytes) -> Parts:
    """Return what the JPEG file `data` has beside metadata.

    Raises ValueError where no scan begins, or there are too many segments or scans; IndexError for
    the header of a frame or scan that is cut off.
    """
    kept, exif, place = [data[:2]], b"", 2
    components, is_progressive = 0, False
    for _ in range(MOST_SEGMENTS):
        filled = _FILLED.search(data, place)
        if filled is None or filled.end() + 3 > len(data):
            break
        place = filled.end() + 1
        marker = data[filled.end()]
        if marker in _STANDALONE:
            continue
        if marker == _END_OF_IMAGE:
            break
        if marker == _START_OF_SCAN:
            _count_scans(data, place)
            kept += [b"\xff", data[filled.end() :]]
            # libjpeg needs all coefficients if one scan does not have all components, too.
            is_held_whole = is_progressive or data[place + 2] < components
            return Parts(b"".join(kept), exif, is_held_whole=is_held_whole)
        after = place + int.from_bytes(data[place : place + 2], "big")
        body = data[place + 2 : after]
        if marker in _FRAMES:
            components = body[5]
            is_progressive = is_progressive or marker in _PROGRESSIVE
        if marker == _APP1 and body.startswith(_EXIF) and not exif:
            exif = body[len(_EXIF) :]
        elif marker not in _METADATA:
            kept += [b"\xff", data[filled.end() : after]]
        place = max(after, place + 2)
    raise ValueError("no scan begins, or only after too many segments")


def _count_scans(data: bytes, place: int) -> None:
    """Raise ValueError for too many scans; at `place` is the length of the first one's header."""
    scans = 1
    for _ in range(MOST_SEGMENTS):
        place += int.from_bytes(data[place : place + 2], "big")
        found = _MARKER.search(data, place)
        if found is None or data[found.end() - 1] == _END_OF_IMAGE:
            return
        scans += data[found.end() - 1] == _START_OF_SCAN
        if scans > MOST_SCANS:
            break
        place = found.end()
    raise ValueError(f"more than {MOST_SCANS} scans, or segments between them")
