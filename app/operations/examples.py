"""What the examples of all operations share: a collection, a picture, a task.

The reference shows the examples; a test sends them one after the other, with a collection and a
task of its own.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

#: The requestId of the examples.
REQUEST_ID = "0d6f1c1e6f4b4a0f9f0e6d2c3b5a7e81"


@dataclass(frozen=True)
class Example:
    """A request, and the result that it gets."""

    request: dict[str, Any]
    result: dict[str, Any]


def success(**fields: Any) -> dict[str, Any]:
    """Return the result of an operation that was done."""
    return {"code": 0, "message": "SUCCESS", **fields}


def _drawing() -> str:
    """Return a PNG of the smallest size allowed, in Base64: a red box on white."""
    picture = Image.new("P", (201, 201), 0)
    picture.putpalette([255, 255, 255, 200, 30, 30])
    ImageDraw.Draw(picture).rectangle((50, 70, 150, 140), fill=1)
    file = io.BytesIO()
    picture.save(file, "PNG", bits=1, optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


COLLECTION = "XX小店"
TASK_ID = f"default/{COLLECTION}/1581417512.274598"
PICTURE = _drawing()
