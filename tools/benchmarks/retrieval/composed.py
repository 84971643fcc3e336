"""The sets that are composed by cut and paste: photos, renders, several, clutter, crowd."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from functools import partial

from tools.benchmarks import sets
from tools.benchmarks.composition import (
    HARD_SHARES,
    SMALL_SHARES,
    Scene,
    hard_query,
    light_query,
    product_shot,
    several,
)
from tools.benchmarks.retrieval.pictures import Picture, Search, SearchSet, composing

OBJECTS_TOGETHER = 3


class Composer:
    """Makes the pictures of a set of objects; the same names, seed and code give the same ones."""

    def __init__(
        self,
        name: str,
        objects: Sequence[sets.Source],
        places: Sequence[sets.Source],
        seed: int,
    ) -> None:
        """Take the objects, the backgrounds (`places`) and the seed of all random choices."""
        self.name = name
        self._objects = objects
        self._places = places
        self._seed = seed
        # The choice of a background depends on the list of all.
        self._stamp = f"{composing()} {_digest(places)}"
        self.gallery = tuple(
            self._picture("shot", one.name, partial(self._shot, one)) for one in objects
        )

    def light(self) -> SearchSet:
        """Return searches with pieces of the gallery's pictures, turned and in other light."""
        searches = (
            Search(self._picture("light", one.name, partial(self._light, one)), place, one.name)
            for place, one in enumerate(self._objects)
        )
        return SearchSet(f"{self.name} light", self.gallery, tuple(searches))

    def hard(self, grade: str = "hard", shares: tuple[float, float] = HARD_SHARES) -> SearchSet:
        """Return searches with each object on a background; `shares` are those of its side."""
        searches = (
            Search(
                self._picture(grade, one.name, partial(self._hard, one, grade, shares)),
                place,
                one.name,
                # The background is the first choice that is made for a picture.
                ground=self._ground(self._chance(grade, one.name)).name,
            )
            for place, one in enumerate(self._objects)
        )
        return SearchSet(f"{self.name} {grade}", self.gallery, tuple(searches))

    def small(self) -> SearchSet:
        """Return hard searches with smaller objects."""
        return self.hard("small", SMALL_SHARES)

    def clutter(self, name: str, photographs: Sequence[Picture]) -> SearchSet:
        """Return searches with each object on one of `photographs`, which show other things."""
        searches = []
        for place, one in enumerate(self._objects):
            ground = self._chance(name, one.name).choice(photographs)
            make = partial(self._cluttered, one, name, photographs)
            # The rest of the picture depends on how many there were to choose from, too.
            words = f"{one.name} on {ground.key} of {len(photographs)}"
            picture = self._picture(name, words, make)
            searches.append(Search(picture, place, one.name))
        return SearchSet(name, self.gallery, tuple(searches))

    def several(self) -> SearchSet:
        """Return searches with pictures of three objects; each object is in two of them."""
        searches = []
        for turn in range(2):
            order = list(range(len(self._objects)))
            self._chance("several", turn).shuffle(order)
            for start in range(0, len(order) - OBJECTS_TOGETHER + 1, OBJECTS_TOGETHER):
                together = [
                    (place, self._objects[place]) for place in order[start:][:OBJECTS_TOGETHER]
                ]
                make = partial(self._several, [one for _, one in together], turn, start)
                names = " ".join(one.name for _, one in together)
                picture = self._picture("several", f"{turn} {start} {names}", make)
                searches += [
                    Search(picture, place, one.name, shown)
                    for shown, (place, one) in enumerate(together)
                ]
        return SearchSet("several", self.gallery, tuple(searches))

    def _picture(self, grade: str, words: str, make: Callable[[], Scene]) -> Picture:
        return Picture(f"{self.name} {grade} {self._seed} {self._stamp} {words}", make)

    def _chance(self, *words: object) -> random.Random:
        return random.Random(" ".join(map(str, (self._seed, self.name, *words))))

    def _ground(self, rng: random.Random) -> sets.Source:
        return rng.choice(self._places)

    def _shot(self, one: sets.Source) -> Scene:
        return product_shot(one.cutout(), self._chance("shot", one.name))

    def _light(self, one: sets.Source) -> Scene:
        return light_query(self._shot(one), self._chance("light", one.name))

    def _hard(self, one: sets.Source, grade: str, shares: tuple[float, float]) -> Scene:
        rng = self._chance(grade, one.name)
        return hard_query(one.cutout(), sets.background(self._ground(rng)), rng, shares)

    def _cluttered(self, one: sets.Source, name: str, photographs: Sequence[Picture]) -> Scene:
        rng = self._chance(name, one.name)
        return hard_query(one.cutout(), rng.choice(photographs).make().picture, rng)

    def _several(self, together: Sequence[sets.Source], turn: int, start: int) -> Scene:
        rng = self._chance("several", turn, start)
        ground = sets.background(self._ground(rng))
        return several([one.cutout() for one in together], ground, rng)


def crowd(
    count: int, objects: list[sets.Source], places: list[sets.Source], seed: int
) -> tuple[list[Picture], list[str]]:
    """Return the distractors and the name of the background of each, "" on white."""
    stamp = f"{composing()} {_digest(places)} {_digest(objects)}"

    def made(number: int) -> Scene:
        (scene,) = sets.distractors(number + 1, objects, places, seed, number)
        # No true box is searched in the gallery.
        return Scene(scene.picture, ())

    pictures = [
        Picture(f"crowd {seed} {stamp} {number}", partial(made, number)) for number in range(count)
    ]
    grounds = (sets.distractor_ground(number, places, seed) for number in range(count))
    return pictures, [ground.name if ground else "" for ground in grounds]


def _digest(sources: Sequence[sets.Source]) -> str:
    names = repr([(source.package, source.name) for source in sources])
    return hashlib.sha256(names.encode()).hexdigest()[:12]
