from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tools.benchmarks.composition import (
    HARD_SHARES,
    SMALL_SHARES,
    Scene,
    hard_query,
    light_query,
    piece,
    product_shot,
    several,
    visible_box,
)
from tools.benchmarks.measures import intersection_over_union
from vision.box import Box

COLOURS = ((220, 20, 20), (20, 180, 20), (20, 20, 220))


def ellipse(colour: tuple[int, int, int] = COLOURS[0]) -> Image.Image:
    """An object with a wide transparent rim, off its picture's middle."""
    cutout = Image.new("RGBA", (300, 240), (0, 0, 0, 0))
    ImageDraw.Draw(cutout).ellipse((20, 60, 219, 179), fill=(*colour, 255))
    return cutout


def photo() -> Image.Image:
    return Image.linear_gradient("L").resize((900, 700)).convert("RGB")


def seen(picture: Image.Image, channel: int) -> Box:
    """The box around all pixels in which one channel stands out by far."""
    pixels = np.asarray(picture).astype(int)
    others = pixels[..., [place for place in range(3) if place != channel]].max(axis=2)
    rows, columns = np.nonzero(pixels[..., channel] - others > 60)
    return Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)


SCENES: list[Callable[[random.Random], Scene]] = [
    lambda rng: product_shot(ellipse(), rng),
    lambda rng: light_query(product_shot(ellipse(), rng), rng),
    lambda rng: hard_query(ellipse(), photo(), rng),
    lambda rng: several([ellipse(colour) for colour in COLOURS], photo(), rng),
]
NAMES = ["product shot", "light", "hard", "several"]


@pytest.mark.parametrize("compose", SCENES, ids=NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_the_true_boxes_are_where_the_objects_are_seen(
    compose: Callable[[random.Random], Scene], seed: int
) -> None:
    scene = compose(random.Random(seed))
    for channel, box in enumerate(scene.boxes):
        assert intersection_over_union(box, seen(scene.picture, channel)) > 0.93


@pytest.mark.parametrize("compose", SCENES, ids=NAMES)
def test_the_same_seed_gives_the_same_picture_and_another_a_different_one(
    compose: Callable[[random.Random], Scene],
) -> None:
    one, again, other = (compose(random.Random(seed)) for seed in (1, 1, 2))
    assert one.picture.tobytes() == again.picture.tobytes()
    assert one.boxes == again.boxes
    assert one.picture.tobytes() != other.picture.tobytes()


@pytest.mark.parametrize("shares", [HARD_SHARES, SMALL_SHARES])
@pytest.mark.parametrize("seed", range(5))
def test_a_hard_object_has_its_share_of_the_shorter_side(
    seed: int, shares: tuple[float, float]
) -> None:
    scene = hard_query(ellipse(), photo(), random.Random(seed), shares)
    box = scene.boxes[0]
    share = max(box.right - box.left, box.bottom - box.top) / min(scene.picture.size)
    assert shares[0] - 0.01 < share < shares[1] + 0.01


@pytest.mark.parametrize("seed", range(5))
def test_objects_beside_each_other_do_not_overlap(seed: int) -> None:
    scene = several([ellipse()] * 4, photo(), random.Random(seed))
    for place, box in enumerate(scene.boxes):
        for other in scene.boxes[place + 1 :]:
            assert intersection_over_union(box, other) == 0.0


def test_a_faint_shadow_is_no_part_of_the_object() -> None:
    mask = Image.new("L", (100, 100), 20)
    mask.paste(255, (10, 20, 30, 50))
    assert visible_box(mask) == Box(10, 20, 30, 50)
    assert visible_box(Image.new("L", (10, 10))) == Box(0, 0, 0, 0)


@pytest.mark.parametrize("size", [(100, 300), (300, 100), (1, 1)])
def test_a_piece_of_a_photo_has_the_size_asked_for(size: tuple[int, int]) -> None:
    assert piece(photo(), size, random.Random(1)).size == size
