"""The demo's queries: changed versions of the sample pictures, made with Pillow.

The same samples give the same queries.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

if TYPE_CHECKING:
    from tools.demo.manifest import Manifest, SampleImage

#: The largest turn of a query, in degrees.
LARGEST_TURN = 15.0
#: Every third of the products without a cut-out has a query, made of its own picture.
PICTURE_STRIDE = 3
GOOD_QUALITY, POOR_QUALITY = 88, 40


@dataclass(frozen=True)
class Query:
    """A picture to search with: a JPEG, its size in pixels, and the product that it shows."""

    query_id: str
    product_id: str
    description: str
    content: bytes
    width: int
    height: int


def colour(rng: random.Random, low: int = 40, high: int = 220) -> tuple[int, int, int]:
    """Return a random colour, each channel from `low` to `high`."""
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def gradient(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Return a gradient between two random colours."""
    ramp = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize(size)
    return Image.composite(
        Image.new("RGB", size, colour(rng)), Image.new("RGB", size, colour(rng)), ramp
    )


def noise(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Return coarse coloured noise around a random colour."""
    grain = (size[0] // 6, size[1] // 6)
    grains = Image.frombytes("RGB", grain, rng.randbytes(grain[0] * grain[1] * 3))
    base = Image.new("RGB", size, colour(rng, 90, 210))
    return Image.blend(base, grains.resize(size, Image.Resampling.BILINEAR), 0.35)


def clutter(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Return many overlapping shapes in random colours."""
    canvas = Image.new("RGB", size, colour(rng, 120, 230))
    draw = ImageDraw.Draw(canvas)
    for _ in range(30):
        left, top = rng.randint(-60, size[0]), rng.randint(-60, size[1])
        box = (left, top, left + rng.randint(20, 180), top + rng.randint(20, 180))
        shape = rng.choice((draw.rectangle, draw.ellipse))
        shape(box, fill=colour(rng, 90, 220))
    return canvas.filter(ImageFilter.GaussianBlur(1.5))


BACKGROUNDS: tuple[tuple[str, Callable[[tuple[int, int], random.Random], Image.Image]], ...] = (
    ("gradient", gradient),
    ("noise", noise),
    ("clutter", clutter),
)


def on_background(cutout: Path, index: int, rng: random.Random) -> tuple[Image.Image, str]:
    """Return a cut-out, turned, on a drawn background, and a description of the changes."""
    name, draw = BACKGROUNDS[index % len(BACKGROUNDS)]
    size = (rng.randrange(420, 721, 20), rng.randrange(420, 721, 20))
    angle = rng.uniform(-LARGEST_TURN, LARGEST_TURN)
    with Image.open(cutout) as opened:
        figure = opened.convert("RGBA").rotate(angle, Image.Resampling.BICUBIC, expand=True)
    figure = figure.crop(figure.getchannel("A").getbbox())
    scale = rng.uniform(0.5, 0.8) * min(size) / max(figure.size)
    figure = figure.resize(
        (round(figure.width * scale), round(figure.height * scale)), Image.Resampling.LANCZOS
    )
    place = (rng.randint(0, size[0] - figure.width), rng.randint(0, size[1] - figure.height))
    canvas = draw(size, rng)
    canvas.paste(figure, place, figure)
    words = f"on {name}, turned {angle:+.0f}°"
    if index % 4 == 3:
        canvas, brightness = brightened(canvas, rng)
        words += f", {brightness}"
    return canvas, words


def flattened(image: SampleImage) -> Image.Image:
    """Return a product picture as RGB, with white in place of transparency."""
    with Image.open(image.path) as opened:
        picture = opened.convert("RGBA")
    canvas = Image.new("RGB", picture.size, (255, 255, 255))
    canvas.paste(picture, (0, 0), picture)
    return canvas


def brightened(picture: Image.Image, rng: random.Random) -> tuple[Image.Image, str]:
    """Return a picture made darker or brighter, and a description of the change."""
    factor = rng.choice((0.65, 0.75, 1.25, 1.35))
    return ImageEnhance.Brightness(picture).enhance(factor), f"brightness ×{factor:g}"


def turned(picture: Image.Image, rng: random.Random) -> tuple[Image.Image, str]:
    """Return a picture turned, its corners filled with its top left pixel, and a description."""
    angle = rng.choice((-1, 1)) * rng.uniform(6, LARGEST_TURN)
    corner = picture.getpixel((0, 0))
    rotated = picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=corner)
    return rotated, f"turned {angle:+.0f}°"


def cropped(picture: Image.Image, rng: random.Random) -> tuple[Image.Image, str]:
    """Return a picture without up to an eighth of each side, and a description of the change."""
    left, right = (round(picture.width * rng.uniform(0.02, 0.12)) for _ in range(2))
    top, bottom = (round(picture.height * rng.uniform(0.02, 0.12)) for _ in range(2))
    box = (left, top, picture.width - right, picture.height - bottom)
    return picture.crop(box), "cropped"


def shrunk(picture: Image.Image, rng: random.Random) -> tuple[Image.Image, str]:
    """Return a picture scaled to 0.7 to 0.9, at least 210 pixels a side, and a description."""
    scale = max(rng.uniform(0.7, 0.9), 210 / min(picture.size))
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS), f"scaled ×{scale:.2f}"


CHANGES: tuple[Callable[[Image.Image, random.Random], tuple[Image.Image, str]], ...] = (
    turned,
    cropped,
    shrunk,
    brightened,
)


def encoded(picture: Image.Image, quality: int) -> bytes:
    """Return the picture as a JPEG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def query(product_id: str, picture: Image.Image, words: str, quality: int) -> Query:
    """Return the query of a finished picture, compressed as JPEG."""
    return Query(
        query_id=f"query-{product_id}",
        product_id=product_id,
        description=words if quality == GOOD_QUALITY else f"{words}, JPEG quality {quality}",
        content=encoded(picture, quality),
        width=picture.width,
        height=picture.height,
    )


def make_queries(manifest: Manifest) -> list[Query]:
    """Return the queries of the demo: one for each cut-out, and for every third other product.

    Queries of cut-outs show the object turned on a gradient, noise or clutter; the others are the
    product's own picture turned, cropped, scaled, or with another brightness. About every second
    one, and every scaled one, is compressed at JPEG quality 40.
    """
    queries: list[Query] = []
    for index, (product_id, cutout) in enumerate(manifest.cutouts.items()):
        rng = random.Random(f"cut-out {product_id}")
        picture, words = on_background(cutout, index, rng)
        quality = POOR_QUALITY if index % 2 else GOOD_QUALITY
        queries.append(query(product_id, picture, words, quality))
    others = [
        image
        for product_id, image in manifest.first_images().items()
        if product_id not in manifest.cutouts
    ]
    for index, image in enumerate(others[::PICTURE_STRIDE]):
        rng = random.Random(f"picture {image.product_id}")
        change = CHANGES[index % len(CHANGES)]
        picture, words = change(flattened(image), rng)
        poor = change is shrunk or index // len(CHANGES) % 2 == 1
        quality = POOR_QUALITY if poor else GOOD_QUALITY
        queries.append(query(image.product_id, picture, words, quality))
    return queries
