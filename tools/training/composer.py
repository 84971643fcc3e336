"""Composing the scenes that the detector is trained on, by cut and paste.

A scene is a product shot on a plain background, or up to four objects on a photo or a surface,
with the defects of cheap cameras and of JPEG. Randomness is a `random.Random`: the same one gives
the same scene.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from tools.benchmarks.composition import LEAST_ALPHA, Scene, compressed, other_hue, piece, trimmed
from tools.training.sources import Library
from vision.box import Box

#: The frequency of each kind of background.
GROUNDS = {"studio": 0.30, "photo": 0.50, "surface": 0.20}
#: The frequency of each number of objects on a photo or surface; with 0 the network learns that
#: there may be none.
COUNTS = {0: 0.03, 1: 0.57, 2: 0.17, 3: 0.15, 4: 0.08}
#: The range of the longer side of a scene, in pixels, before it is scaled to the network's input.
SIDES = (320, 560)
#: The range of width divided by height.
SHAPES = (0.62, 1.6)
#: The ranges of the longer side of an object as a share of the shorter side of the scene.
STUDIO_SHARES, PHOTO_SHARES, SEVERAL_SHARES = (0.40, 0.98), (0.14, 0.85), (0.15, 0.50)
#: The same for a single object close to the camera, and how often it is.
CLOSE_SHARES = (0.70, 1.20)
CLOSE_SHARE = 0.25
#: The least visible share of an object that the detector should find.
LEAST_VISIBLE = 0.4
#: The most overlap of the boxes of two objects, as a share of the smaller box.
MOST_OVERLAP = 0.25
PLACEMENTS = 12


@dataclass
class _Canvas:
    """An unfinished scene: its picture, the object that each pixel shows (0: none), and boxes."""

    picture: Image.Image
    owners: NDArray[np.uint8]
    boxes: list[Box]


def compose(library: Library, rng: random.Random) -> Scene:
    """Return a scene of the library's objects, with boxes around their visible parts."""
    longer, shape = rng.randint(*SIDES), rng.uniform(*SHAPES)
    size = (longer, round(longer / shape)) if shape > 1 else (round(longer * shape), longer)
    ground = _chosen(GROUNDS, rng)
    canvas = _Canvas(_ground(ground, size, library, rng), np.zeros(size[::-1], np.uint8), [])
    if ground == "studio":
        count = 1 if rng.random() < 0.9 else 2
        shares = STUDIO_SHARES if count == 1 else SEVERAL_SHARES
    else:
        count = _chosen(COUNTS, rng)
        shares = PHOTO_SHARES if count < 3 else SEVERAL_SHARES
        if count == 1 and rng.random() < CLOSE_SHARE:
            shares = CLOSE_SHARES
        if rng.random() < 0.2:
            _paste_seams(canvas.picture, rng)
    areas = [_add(canvas, _figure(library, rng), shares, rng) for _ in range(count)]
    boxes = []
    for number, area in enumerate(areas, start=1):
        rows, columns = np.nonzero(canvas.owners == number)
        if area and len(rows) >= LEAST_VISIBLE * area:
            boxes.append(
                Box(
                    int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
                )
            )
    return Scene(_photographed(canvas.picture, rng), tuple(boxes))


def _chosen(weights: dict[Any, float], rng: random.Random) -> Any:
    return rng.choices(list(weights), list(weights.values()))[0]


def _ground(kind: str, size: tuple[int, int], library: Library, rng: random.Random) -> Image.Image:
    if kind == "studio":
        return _studio(size, rng)
    if kind == "surface" and library.textures:
        return _surface(rng.choice(library.textures), size, rng)
    picture = piece(rng.choice(library.places), size, rng)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(1, 5)))
    return picture


def _studio(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Return a background of white, grey, a colour, or a gradient."""
    if rng.random() < 0.5:
        return Image.new("RGB", size, (255, 255, 255))
    low = 200 if rng.random() < 0.6 else 20
    colours = [tuple(rng.randint(low, 255) for _ in range(3)) for _ in range(2)]
    if rng.random() < 0.5:
        colours = [(grey, grey, grey) for grey, _, _ in colours]
    if rng.random() < 0.5:
        return Image.new("RGB", size, colours[0])
    run = Image.linear_gradient("L") if rng.random() < 0.6 else Image.radial_gradient("L")
    mask = run.rotate(rng.choice((0, 90, 180, 270))).resize(size)
    return Image.composite(
        Image.new("RGB", size, colours[0]), Image.new("RGB", size, colours[1]), mask
    )


def _surface(texture: Image.Image, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Return tiles of a texture, every second one mirrored, so that no edges are visible."""
    side = round(max(size) * rng.uniform(0.3, 1.0))
    tile = texture.resize((side, max(round(side * texture.height / texture.width), 16)))
    canvas = Image.new("RGB", size)
    for row, top in enumerate(range(0, size[1], tile.height)):
        for column, left in enumerate(range(0, size[0], tile.width)):
            turned = tile
            if column % 2:
                turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            if row % 2:
                turned = turned.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
            canvas.paste(turned, (left, top))
    return canvas


def _paste_seams(picture: Image.Image, rng: random.Random) -> None:
    """Paste pieces of the background itself, so that the network learns to ignore seams."""
    for _ in range(rng.randint(1, 3)):
        width, height = (round(side * rng.uniform(0.1, 0.4)) for side in picture.size)
        left, top = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
        patch = picture.crop((left, top, left + width, top + height))
        mask = Image.radial_gradient("L").resize(patch.size).point(lambda v: 255 if v < 120 else 0)
        mask = mask.rotate(rng.uniform(0, 360)).filter(ImageFilter.GaussianBlur(rng.uniform(0, 2)))
        place = (rng.randint(0, picture.width - width), rng.randint(0, picture.height - height))
        picture.paste(_relit(patch, rng, 0.1), place, mask)


def _figure(library: Library, rng: random.Random) -> Image.Image:
    """Return a random object as RGBA, with changed colours, light and pose."""
    figure = rng.choice(rng.choice(library.cutouts))
    alpha = figure.getchannel("A")
    colours = figure.convert("RGB")
    if rng.random() < 0.3:
        colours = other_hue(colours, rng)
    if rng.random() < 0.25:
        colours = _of_two_parts(colours, rng)
    if rng.random() < 0.35:
        # Rendered surfaces are smooth; real ones are not.
        patch = piece(rng.choice(library.places or library.textures), colours.size, rng)
        if library.textures and rng.random() < 0.5:
            patch = piece(rng.choice(library.textures), colours.size, rng)
        colours = (
            Image.blend(colours, patch, rng.uniform(0.15, 0.6))
            if rng.random() < 0.5
            else Image.blend(colours, ImageChops.multiply(colours, patch), rng.uniform(0.4, 1.0))
        )
    if rng.random() < 0.1:
        colours = ImageEnhance.Color(colours).enhance(rng.uniform(0.0, 0.5))
    figure = _relit(colours, rng, 0.35)
    figure.putalpha(alpha)
    if rng.random() < 0.5:
        figure = figure.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.4:
        stretched = [max(round(side * rng.uniform(0.6, 1.0)), 8) for side in figure.size]
        figure = figure.resize((stretched[0], stretched[1]))
    if rng.random() < 0.7:
        turn = rng.uniform(-40, 40) if rng.random() < 0.8 else rng.uniform(-180, 180)
        figure = figure.rotate(turn, Image.Resampling.BICUBIC, expand=True)
    return trimmed(figure)


def _of_two_parts(colours: Image.Image, rng: random.Random) -> Image.Image:
    """Return the object with other colours on one side of a random line.

    So the network learns that a part of one colour is not the whole object.
    """
    side = max(colours.size)
    half = Image.new("L", (3 * side, 3 * side))
    half.paste(255, (0, 0, round(side * rng.uniform(1.3, 1.7)), 3 * side))
    half = half.rotate(rng.uniform(0, 360), Image.Resampling.BILINEAR)
    left, top = (3 * side - colours.width) // 2, (3 * side - colours.height) // 2
    mask = half.crop((left, top, left + colours.width, top + colours.height))
    other = other_hue(colours, rng)
    if rng.random() < 0.5:
        other = Image.blend(other, Image.new("RGB", colours.size, _colour(rng)), 0.5)
    return Image.composite(_relit(other, rng, 0.5), colours, mask)


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)


def _add(
    canvas: _Canvas, figure: Image.Image, shares: tuple[float, float], rng: random.Random
) -> int:
    """Paste an object where it hides little of the others, and return its area in pixels.

    Return 0, with an empty box, if no such position was found.
    """
    width, height = canvas.picture.size
    scale = rng.uniform(*shares) * min(width, height) / max(figure.size)
    size = (max(round(figure.width * scale), 4), max(round(figure.height * scale), 4))
    figure = figure.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    # A part of the object may lie outside of the picture.
    beyond = rng.uniform(0.1, 0.35) if rng.random() < 0.12 else 0.0
    for _ in range(PLACEMENTS):
        left = _between(-beyond * size[0], width - (1 - beyond) * size[0], rng)
        top = _between(-beyond * size[1], height - (1 - beyond) * size[1], rng)
        box = Box(left, top, left + size[0], top + size[1])
        if all(_overlap(box, other) <= MOST_OVERLAP for other in canvas.boxes):
            break
    else:
        canvas.boxes.append(Box(0, 0, 0, 0))
        return 0
    canvas.boxes.append(box)
    alpha = figure.getchannel("A")
    if rng.random() < 0.5:
        _shade(canvas.picture, alpha, box, rng)
    softened = alpha
    if rng.random() < 0.6:
        softened = alpha.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    canvas.picture.paste(figure.convert("RGB"), (left, top), softened)
    opaque = np.asarray(alpha) >= LEAST_ALPHA
    rows, columns = slice(max(top, 0), box.bottom), slice(max(left, 0), box.right)
    seen = canvas.owners[rows, columns]
    inside = opaque[max(-top, 0) :, max(-left, 0) :][: seen.shape[0], : seen.shape[1]]
    seen[inside] = len(canvas.boxes)
    return int(opaque.sum())


def _between(low: float, high: float, rng: random.Random) -> int:
    return round(rng.uniform(low, high)) if low < high else round((low + high) / 2)


def _overlap(one: Box, other: Box) -> float:
    """Return the common area of two boxes as a share of the smaller one, 0 to 1."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    areas = [(box.right - box.left) * (box.bottom - box.top) for box in (one, other)]
    if width <= 0 or height <= 0 or not min(areas):
        return 0.0
    return width * height / min(areas)


def _shade(picture: Image.Image, alpha: Image.Image, box: Box, rng: random.Random) -> None:
    """Paste a soft shadow of the object beside it."""
    spread = max(1.0, 0.05 * max(alpha.size)) * rng.uniform(0.5, 1.5)
    rim = round(3 * spread)
    shadow = Image.new("L", (alpha.width + 2 * rim, alpha.height + 2 * rim))
    strength = rng.uniform(0.15, 0.55)
    shadow.paste(alpha.point(lambda value: round(value * strength)), (rim, rim))
    shadow = shadow.filter(ImageFilter.BoxBlur(spread))
    left = box.left - rim + round(spread * rng.uniform(-2, 2))
    top = box.top - rim + round(spread * rng.uniform(0, 2))
    picture.paste((0, 0, 0), (left, top), shadow)


def _relit(picture: Image.Image, rng: random.Random, most: float) -> Image.Image:
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(1 - most, 1 + most))
    return ImageEnhance.Contrast(picture).enhance(rng.uniform(1 - most, 1 + most))


def _photographed(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Return the picture with random defects: light, colour, blur, noise and JPEG blocks."""
    picture = _relit(picture, rng, 0.25)
    if rng.random() < 0.3:
        picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.4, 1.4))
    if rng.random() < 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2)))
    if rng.random() < 0.2:
        picture = Image.blend(picture, _noise(picture.size, rng), rng.uniform(0.03, 0.12))
    return compressed(picture, rng.randint(30, 95)) if rng.random() < 0.8 else picture


def _noise(size: tuple[int, int], rng: random.Random) -> Image.Image:
    # Pillow's own noise can't be seeded.
    chance = np.random.default_rng(rng.getrandbits(64))
    values = chance.normal(128, rng.uniform(4, 16), size[::-1]).clip(0, 255)
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")
