"""Pictures with much to hold on to, such as print on a package, and views of them."""

from __future__ import annotations

import random

from PIL import Image, ImageDraw


def package(seed: int, size: tuple[int, int] = (400, 480)) -> Image.Image:
    """Return a picture of shapes in many colours; the same seed, the same picture."""
    rng = random.Random(seed)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for _ in range(120):
        left, top = rng.randrange(size[0]), rng.randrange(size[1])
        box = (left, top, left + rng.randint(6, 60), top + rng.randint(6, 60))
        colour = tuple(rng.randrange(256) for _ in range(3))
        (draw.rectangle if rng.random() < 0.5 else draw.ellipse)(box, fill=colour)
    return picture


def view(picture: Image.Image, degrees: float, share: float) -> Image.Image:
    """Return a picture turned and scaled, in the middle of a grey one of 640 x 480 pixels."""
    size = (round(share * picture.width), round(share * picture.height))
    turned = picture.resize(size).convert("RGBA").rotate(degrees, Image.Resampling.BICUBIC, True)
    scene = Image.new("RGB", (640, 480), "grey")
    scene.paste(turned, ((640 - turned.width) // 2, (480 - turned.height) // 2), turned)
    return scene
