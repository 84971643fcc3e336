"""What decoding each hostile picture costs: a program that prints a JSON object for each.

It is a process of its own, so that a crash is seen as one and the memory is the decoder's.
"""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from contract.errors import ContractError
from tests.hostile_formats import hostile_formats
from tests.hostile_pictures import LIMIT_BYTES, HostilePicture, hostile_pictures
from vision.formats import FORMATS
from vision.ground import is_of_one_colour
from vision.picture import PictureLimits, decode, inspect

LIMITS = PictureLimits(LIMIT_BYTES, min_side=201, max_side=4096)
#: Every format is let in.
ALL = replace(LIMITS, formats=tuple(one.name for one in FORMATS))

_MADE = getattr(Image, "_getdecoder")  # noqa: B009


def _resident(name: str) -> int:
    """VmRSS or VmHWM of this process, in bytes (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _outcome(judge: Any, data: bytes, limits: PictureLimits) -> tuple[str | None, Any]:
    """The fault, or what came of the file."""
    try:
        return None, judge(data, limits)
    except ContractError as fault:
        return type(fault).__name__, None


def _allow(decoders: set[str]) -> None:
    """Let Pillow make no decoders but these from now on."""

    def guarded(mode: str, name: str, *arguments: Any) -> Any:
        assert name in decoders, name
        return _MADE(mode, name, *arguments)

    setattr(Image, "_getdecoder", guarded)  # noqa: B010


def _figures(picture: HostilePicture, limits: PictureLimits) -> dict[str, Any]:
    started = time.process_time()
    judged, _ = _outcome(inspect, picture.data, limits)
    inspected = time.process_time()
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        decoded, image = _outcome(decode, picture.data, limits)
    return {
        "name": picture.name,
        "bytes": len(picture.data),
        "expected": picture.fault and picture.fault.__name__,
        "judged": judged,
        "decoded": decoded,
        "warnings": len(warned),
        "inspect_seconds": inspected - started,
        "decode_seconds": time.process_time() - inspected,
        "peak_bytes": _resident("VmHWM") - before,
        "blank": picture.blank,
        "seen_blank": image is not None and is_of_one_colour(image),
    }


def main() -> None:
    usual, more = hostile_pictures(), hostile_formats()
    for pictures, limits, decoders in (
        (usual, LIMITS, {"jpeg", "zip"}),
        # WebP, AVIF and HEIC come out of libraries of their own, and are raw then.
        (more, ALL, {"raw", "gif", "libtiff"}),
    ):
        _allow(decoders)
        for picture in pictures:
            print(json.dumps(_figures(picture, limits)), flush=True)


if __name__ == "__main__":
    main()
