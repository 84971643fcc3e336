"""Composing pictures by cut and paste, with the true box of each object.

Objects are RGBA pictures, backgrounds RGB ones, and randomness a `random.Random`: the same three
give the same picture.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageEnhance

from vision.box import Box

WHITE = (255, 255, 255)
#: The least opacity of a pixel of an object; fainter ones, of shadows and soft edges, are not
#: visible in the result.
LEAST_ALPHA = 64
SHOT_SIDE = 480
SHOT_SHARES = (0.50, 0.90)
LIGHT_CROP = (0.60, 0.90)
LIGHT_TURN = 15.0
HARD_SIDES = (480, 720)
HARD_SHARES = (0.35, 0.65)
SMALL_SHARES = (0.25, 0.50)
HARD_TURN = 30.0
SEVERAL_SHARES = (0.60, 0.95)
SCENE_CROP = (0.75, 0.92)
SCENE_TURN = 8.0
POOR_QUALITY = 40


@dataclass(frozen=True)
class Scene:
    """An RGB picture, and the true box of each object in it, in the order of the objects."""

    picture: Image.Image
    boxes: tuple[Box, ...]


def visible_box(mask: Image.Image) -> Box:
    """Return the box around the opaque pixels of an "L" mask, an empty box if there are none."""
    found = mask.point(lambda alpha: 255 if alpha >= LEAST_ALPHA else 0).getbbox()
    return Box(*(found or (0, 0, 0, 0)))


def trimmed(cutout: Image.Image) -> Image.Image:
    """Return an RGBA picture without its transparent border."""
    box = visible_box(cutout.getchannel("A"))
    return cutout.crop((box.left, box.top, box.right, box.bottom))


def compressed(picture: Image.Image, quality: int = POOR_QUALITY) -> Image.Image:
    """Return the picture after compression as a JPEG of that quality."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def product_shot(cutout: Image.Image, rng: random.Random) -> Scene:
    """Return a product shot: the object on white, large, near the centre."""
    longer = round(rng.uniform(*SHOT_SHARES) * SHOT_SIDE)
    figure = _sized(trimmed(cutout), longer)
    spare = SHOT_SIDE - figure.width, SHOT_SIDE - figure.height
    place = tuple(round(rest * rng.uniform(0.4, 0.6)) for rest in spare)
    canvas = Image.new("RGB", (SHOT_SIDE, SHOT_SIDE), WHITE)
    box = _paste(canvas, figure, (place[0], place[1]))
    return Scene(compressed(canvas, 90), (box,))


def light_query(shot: Scene, rng: random.Random) -> Scene:
    """Return a light query: a shot turned by up to 15 degrees, cropped, relit, as JPEG 40.

    The crop has 60 to 90% of each side; the box is around the visible part of the object.
    """
    mask = Image.new("L", shot.picture.size)
    truth = shot.boxes[0]
    mask.paste(255, (truth.left, truth.top, truth.right, truth.bottom))
    # The mask is the object, since a turned rectangle would be larger than the turned object.
    grey = shot.picture.convert("L").point(lambda light: 255 if light < 248 else 0)
    mask = Image.composite(grey, Image.new("L", mask.size), mask)
    angle = rng.uniform(-LIGHT_TURN, LIGHT_TURN)
    picture = shot.picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=WHITE)
    mask = mask.rotate(angle, Image.Resampling.BILINEAR)
    sides = [round(rng.uniform(*LIGHT_CROP) * side) for side in picture.size]
    left, top = (
        rng.randint(0, whole - side) for whole, side in zip(picture.size, sides, strict=True)
    )
    frame = (left, top, left + sides[0], top + sides[1])
    picture = _other_light(picture.crop(frame), rng)
    return Scene(compressed(picture), (visible_box(mask.crop(frame)),))


def hard_query(
    cutout: Image.Image,
    background: Image.Image,
    rng: random.Random,
    shares: tuple[float, float] = HARD_SHARES,
) -> Scene:
    """Return a hard query: the object turned, small, anywhere on a photo, relit, as JPEG 40.

    Its longer side is a share of the picture's shorter side, between the two `shares`.
    """
    size = (rng.randint(*HARD_SIDES), rng.randint(*HARD_SIDES))
    canvas = piece(background, size, rng)
    figure = _turned(cutout, rng)
    figure = _sized(figure, round(rng.uniform(*shares) * min(size)))
    place = (rng.randint(0, size[0] - figure.width), rng.randint(0, size[1] - figure.height))
    box = _paste(canvas, figure, place)
    return Scene(compressed(_other_light(canvas, rng)), (box,))


def retaken(scene: Scene, rng: random.Random) -> Scene:
    """Return the first box cut out, scaled to 50 to 100%, turned by up to 15 degrees, as JPEG 40.

    The background within the box stays, since a photograph has no mask.
    """
    box = scene.boxes[0]
    cut = scene.picture.crop((box.left, box.top, box.right, box.bottom))
    cut = _sized(cut, round(max(cut.size) * rng.uniform(0.5, 1.0)))
    angle = rng.uniform(-LIGHT_TURN, LIGHT_TURN)
    turned = cut.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=WHITE)
    picture = compressed(_other_light(turned, rng))
    return Scene(picture, (Box(0, 0, *picture.size),))


def cut_and_turned(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Return a piece with 75 to 92% of each side, turned by up to 8 degrees about its centre.

    What lies outside the picture is white; the piece is compressed as a JPEG of quality 90.
    """
    width, height = (max(round(rng.uniform(*SCENE_CROP) * side), 1) for side in picture.size)
    left, top = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
    turned = picture.rotate(
        rng.uniform(-SCENE_TURN, SCENE_TURN),
        Image.Resampling.BICUBIC,
        center=(left + width / 2, top + height / 2),
        fillcolor=WHITE,
    )
    return compressed(turned.crop((left, top, left + width, top + height)), 90)


def several(cutouts: Sequence[Image.Image], background: Image.Image, rng: random.Random) -> Scene:
    """Return up to four objects beside each other on a photo, as JPEG 40.

    Each is at a random position in a quarter of the picture of its own.
    """
    size = (rng.randint(*HARD_SIDES), rng.randint(*HARD_SIDES))
    canvas = piece(background, size, rng)
    half = (size[0] // 2, size[1] // 2)
    corners = [(left, top) for left in (0, half[0]) for top in (0, half[1])]
    boxes = []
    for cutout, corner in zip(cutouts, rng.sample(corners, len(cutouts)), strict=True):
        figure = _sized(_turned(cutout, rng), round(rng.uniform(*SEVERAL_SHARES) * min(half)))
        left = corner[0] + rng.randint(0, half[0] - figure.width)
        top = corner[1] + rng.randint(0, half[1] - figure.height)
        boxes.append(_paste(canvas, figure, (left, top)))
    return Scene(compressed(_other_light(canvas, rng)), tuple(boxes))


def piece(background: Image.Image, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Return a random piece of a photo, 50 to 100% of it, scaled to `size`."""
    scale = min(background.width / size[0], background.height / size[1]) * rng.uniform(0.5, 1.0)
    width, height = max(int(size[0] * scale), 1), max(int(size[1] * scale), 1)
    left = rng.randint(0, background.width - width)
    top = rng.randint(0, background.height - height)
    cut = background.crop((left, top, left + width, top + height))
    return cut.resize(size, Image.Resampling.BILINEAR)


def other_hue(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Return an RGB picture with all hues shifted by the same random angle."""
    hue, saturation, value = picture.convert("HSV").split()
    shift = rng.randrange(256)
    hue = hue.point(lambda angle: (angle + shift) % 256)
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def _turned(cutout: Image.Image, rng: random.Random) -> Image.Image:
    angle = rng.uniform(-HARD_TURN, HARD_TURN)
    return trimmed(cutout.rotate(angle, Image.Resampling.BICUBIC, expand=True))


def _sized(figure: Image.Image, longer: int) -> Image.Image:
    scale = longer / max(figure.size)
    size = (max(round(figure.width * scale), 1), max(round(figure.height * scale), 1))
    return figure.resize(size, Image.Resampling.LANCZOS)


def _paste(canvas: Image.Image, figure: Image.Image, place: tuple[int, int]) -> Box:
    canvas.paste(figure, place, figure)
    box = visible_box(figure.getchannel("A"))
    left, top = place
    return Box(left + box.left, top + box.top, left + box.right, top + box.bottom)


def _other_light(picture: Image.Image, rng: random.Random) -> Image.Image:
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.75, 1.25))
    return ImageEnhance.Contrast(picture).enhance(rng.uniform(0.8, 1.2))
