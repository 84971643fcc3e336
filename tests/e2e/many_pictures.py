"""As many different pictures as a test wants, made from the samples."""

from __future__ import annotations

import io

from PIL import Image, ImageEnhance

from tools.demo.manifest import load

MANIFEST = load()


def variant(number: int) -> bytes:
    """A picture that no other number gives: a sample, turned and lit a little differently."""
    sample = MANIFEST.images[number % len(MANIFEST.images)]
    turn, light = divmod(number // len(MANIFEST.images), 5)
    with Image.open(sample.path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((320, 320))
    # Samples may be narrow; the contract wants 201 pixels on a side.
    picture = picture.resize((max(210, picture.width), max(210, picture.height)))
    picture = picture.rotate(turn * 7 - 21, fillcolor="white")
    picture = ImageEnhance.Brightness(picture).enhance(0.8 + light * 0.1)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return data.getvalue()
