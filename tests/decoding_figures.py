"""What decoding each hostile picture costs: a program that prints a JSON object for each.

It is a process of its own, so that a crash is seen as one and the memory is the decoder's.
"""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from contract.errors import ContractError
from tests.hostile_pictures import LIMIT_BYTES, hostile_pictures
from vision.picture import PictureLimits, decode, inspect

LIMITS = PictureLimits(LIMIT_BYTES, min_side=201, max_side=4096)


def _resident(name: str) -> int:
    """VmRSS or VmHWM of this process, in bytes (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _fault(judge: object, data: bytes) -> str | None:
    assert callable(judge)
    try:
        judge(data, LIMITS)
    except ContractError as fault:
        return type(fault).__name__
    return None


def _allow_two_decoders() -> None:
    """Let Pillow make no decoder but those of JPEG and PNG."""
    made = getattr(Image, "_getdecoder")  # noqa: B009

    def guarded(mode: str, name: str, *arguments: Any) -> Any:
        assert name in {"jpeg", "zip"}, name
        return made(mode, name, *arguments)

    setattr(Image, "_getdecoder", guarded)  # noqa: B010


def main() -> None:
    pictures = hostile_pictures()
    _allow_two_decoders()
    for picture in pictures:
        started = time.process_time()
        judged = _fault(inspect, picture.data)
        inspected = time.process_time()
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            decoded = _fault(decode, picture.data)
        figures = {
            "name": picture.name,
            "bytes": len(picture.data),
            "expected": picture.fault and picture.fault.__name__,
            "judged": judged,
            "decoded": decoded,
            "warnings": len(warned),
            "inspect_seconds": inspected - started,
            "decode_seconds": time.process_time() - inspected,
            "peak_bytes": _resident("VmHWM") - before,
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
