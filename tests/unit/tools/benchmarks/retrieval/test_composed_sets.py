from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.benchmarks import sets
from tools.benchmarks.composition import Scene
from tools.benchmarks.retrieval.composed import Composer, crowd
from tools.benchmarks.retrieval.pictures import Picture, SearchSet
from vision.box import Box

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "pink": (255, 0, 255)}


@pytest.fixture
def grounds(tmp_path: Path) -> list[sets.Source]:
    return [source(tmp_path, f"grey {level}", (level,) * 3, "RGB") for level in (60, 190)]


@pytest.fixture
def objects(tmp_path: Path) -> list[sets.Source]:
    return [source(tmp_path, name, colour, "RGBA") for name, colour in COLOURS.items()]


def source(folder: Path, name: str, colour: tuple[int, ...], mode: str) -> sets.Source:
    path = folder / f"{name}.png"
    picture = Image.new("RGB", (300, 300), colour)
    picture.putalpha(255)
    picture.convert(mode).save(path)
    return sets.Source("made", path.name, path)


def level(picture: Image.Image) -> float:
    return float(np.median(np.asarray(picture)))


def shown(scene: Scene, number: int = 0) -> tuple[int, ...]:
    """The median colour within a true box, channels below or above the middle."""
    box = scene.boxes[number]
    cut = scene.picture.crop((box.left, box.top, box.right, box.bottom))
    median = np.median(np.asarray(cut).reshape(-1, 3), axis=0)
    return tuple(255 if value > 127 else 0 for value in median)


def all_sets(composer: Composer) -> list[SearchSet]:
    return [composer.light(), composer.hard(), composer.small(), composer.several()]


def test_each_search_shows_the_object_of_the_right_gallery_picture(
    objects: list[sets.Source], grounds: list[sets.Source]
) -> None:
    for made in all_sets(Composer("photos", objects, grounds, 1)):
        assert made.searches
        for search in made.searches:
            right = shown(made.gallery[search.right].make())
            assert shown(search.picture.make(), search.shown or 0) == right
            assert f"{search.kind}" == objects[search.right].name
    assert len({one.kind for one in made.searches}) >= 3


def test_a_picture_is_the_same_each_time_and_has_a_key_of_its_own(
    objects: list[sets.Source], grounds: list[sets.Source]
) -> None:
    keys: dict[str, bytes] = {}
    for seed in (1, 1, 2):
        for made in all_sets(Composer("photos", objects, grounds, seed)):
            for picture in (*made.gallery, *(one.picture for one in made.searches)):
                data = picture.make().picture.tobytes()
                assert keys.setdefault(picture.key, data) == data
    assert len(set(keys.values())) == len(keys)


def test_other_backgrounds_give_other_keys(
    objects: list[sets.Source], grounds: list[sets.Source]
) -> None:
    one, other = (Composer("photos", objects, part, 1).hard() for part in (grounds, grounds[:1]))
    keys = [{search.picture.key for search in made.searches} for made in (one, other)]
    assert not keys[0] & keys[1]


def test_a_hard_search_names_the_ground_that_it_stands_on(
    objects: list[sets.Source], grounds: list[sets.Source]
) -> None:
    named = set()
    for search in Composer("photos", objects, grounds, 1).hard().searches:
        dark = level(search.picture.make().picture) < 127
        assert search.ground == ("grey 60.png" if dark else "grey 190.png")
        named.add(search.ground)
    assert len(named) == 2


def test_clutter_has_the_object_on_a_photograph_at_its_share_of_the_side(
    objects: list[sets.Source],
) -> None:
    def photograph() -> Scene:
        return Scene(Image.new("RGB", (400, 300), (120, 120, 120)), (Box(0, 0, 9, 9),))

    made = Composer("photos", objects, [], 1).clutter("clutter", [Picture("photo", photograph)])
    for search in made.searches:
        scene = search.picture.make()
        (box,) = scene.boxes
        longer = max(box.right - box.left, box.bottom - box.top)
        assert 0.34 < longer / min(scene.picture.size) < 0.66
        assert shown(scene) == COLOURS[search.kind.removesuffix(".png")]
        assert search.picture.make().picture.tobytes() == scene.picture.tobytes()
        assert "photo" in search.picture.key


def test_a_crowd_tells_the_ground_of_each_and_begins_like_a_larger_one(
    objects: list[sets.Source], grounds: list[sets.Source]
) -> None:
    pictures, named = crowd(12, objects, grounds, 1)
    larger, _ = crowd(20, objects, grounds, 1)
    assert [one.key for one in larger[:12]] == [one.key for one in pictures]
    for number, (picture, ground) in enumerate(zip(pictures, named, strict=True)):
        scene = picture.make()
        assert scene.boxes == ()
        assert scene.picture.tobytes() == larger[number].make().picture.tobytes()
        assert bool(ground) == bool(number % 2)
