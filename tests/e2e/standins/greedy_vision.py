"""The vision worker of tests, with a picture in the world that wants far too much memory."""

from __future__ import annotations

from typing import Any

from PIL import Image

from broker.celery_app import app
from tests.e2e.faulty_pictures import GREEDY_SIZE
from vision.picture import decode
from workers import vision
from workers.support import decoding

__all__ = ["app", "vision"]


def _greedy(data: bytes, limits: Any) -> Image.Image:
    picture = decode(data, limits)
    if picture.size == GREEDY_SIZE:
        # 3 GiB, thrice what is allowed; four bytes for each pixel.
        return [Image.new("RGB", (8192, 8192)) for _ in range(12)][-1]
    return picture


setattr(decoding, "decode", _greedy)  # noqa: B010
