"""The pictures that the embedder is trained on: several of each object, and backgrounds.

Each object is shown as a product shot, as a part of it, and on photos or surfaces, cropped like
the boxes of a detector.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from PIL import Image, ImageChops

from tools.benchmarks.composition import (
    Scene,
    hard_query,
    light_query,
    other_hue,
    piece,
    product_shot,
)
from tools.benchmarks.measures import intersection_over_union
from tools.training.sources import Library
from vision.box import Box

#: Pictures of an object on a photo or a surface, besides one product shot and one light query.
HARD_VIEWS = 2
HARD_SHARES = (0.25, 0.65)
#: The share of these pictures that are on a photo, not on a surface.
PHOTO_SHARE = 0.7
#: The greatest error of each edge of a detected box, as a share of the side.
BOX_ERROR = 0.15
LEAST_OVERLAP = 0.7
#: The least side of a box in pixels; smaller ones are left out.
LEAST_SIDE = 8
#: The range of sides of backgrounds in pixels, and of the share of a side that a piece has.
GROUND_SIDES, GROUND_SHARES = (200, 500), (0.2, 0.8)


def dressed(figure: Image.Image, library: Library, rng: random.Random) -> Image.Image:
    """Return another object of the same shape: with other colours, a surface, maybe mirrored."""
    alpha = figure.getchannel("A")
    colours = figure.convert("RGB")
    if rng.random() < 0.5:
        colours = other_hue(colours, rng)
    patch = piece(_ground(library, rng, 0.15), colours.size, rng)
    if rng.random() < 0.5:
        colours = Image.blend(colours, patch, rng.uniform(0.25, 0.6))
    else:
        printed = ImageChops.multiply(colours, patch)
        colours = Image.blend(colours, printed, rng.uniform(0.5, 1.0))
    colours.putalpha(alpha)
    if rng.random() < 0.5:
        return colours.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return colours


def _ground(library: Library, rng: random.Random, photo_share: float) -> Image.Image:
    return rng.choice(library.places if rng.random() < photo_share else library.textures)


def views(figure: Image.Image, library: Library, rng: random.Random) -> Iterator[Scene]:
    """Yield the pictures of one object: a product shot, a light query, and HARD_VIEWS others."""
    shot = product_shot(figure, rng)
    yield shot
    yield light_query(shot, rng)
    for _ in range(HARD_VIEWS):
        yield hard_query(figure, _ground(library, rng, PHOTO_SHARE), rng, HARD_SHARES)


def detected(truth: Box, size: tuple[int, int], rng: random.Random) -> Box:
    """Return a box with the errors of a detector, and an IoU of at least `LEAST_OVERLAP`."""
    width, height = truth.right - truth.left, truth.bottom - truth.top

    def moved(edge: int, side: int, most: int) -> int:
        error = rng.uniform(-BOX_ERROR, BOX_ERROR) * side
        return min(max(round(edge + error), 0), most)

    while True:
        box = Box(
            moved(truth.left, width, size[0]),
            moved(truth.top, height, size[1]),
            moved(truth.right, width, size[0]),
            moved(truth.bottom, height, size[1]),
        )
        if intersection_over_union(box, truth) >= LEAST_OVERLAP:
            return box


def crops(figure: Image.Image, library: Library, rng: random.Random) -> Iterator[Image.Image]:
    """Yield the crop of each picture of an object, as by a detector."""
    for scene in views(figure, library, rng):
        truth = scene.boxes[0]
        if min(truth.right - truth.left, truth.bottom - truth.top) >= LEAST_SIDE:
            box = detected(truth, scene.picture.size, rng)
            yield scene.picture.crop((box.left, box.top, box.right, box.bottom))


def ground(library: Library, rng: random.Random) -> Image.Image:
    """Return a piece of a photo or a surface, as by a detector that finds no object."""
    whole = _ground(library, rng, PHOTO_SHARE)
    picture = piece(whole, (rng.randint(*GROUND_SIDES), rng.randint(*GROUND_SIDES)), rng)
    width, height = (round(side * rng.uniform(*GROUND_SHARES)) for side in picture.size)
    left, top = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
    return picture.crop((left, top, left + width, top + height))
