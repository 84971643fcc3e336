"""Measures retrieval: boxes, ranks and times of the model that the settings name.

    python -m tools.benchmarks.retrieval
    python -m tools.benchmarks.retrieval --sets photos --crowd 20000

The sets are made of packages that are fetched into a cache folder, since their licences keep them
out of the repository. The same packages and seed give the same pictures. Prints a table for each
set; exits with 69 (EX_UNAVAILABLE of sysexits.h) if a package is unavailable.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from config.settings import SettingsError, read_settings
from tools.benchmarks import real, sets
from tools.benchmarks.composition import (
    SMALL_SHARES,
    Scene,
    hard_query,
    light_query,
    product_shot,
    retaken,
    several,
)
from tools.benchmarks.crowd import crowd_features
from tools.benchmarks.evaluation import (
    DETECTED,
    HEADER,
    TRUE,
    WHOLE,
    Described,
    describe_all,
    gallery_features,
    query_rows,
    several_rows,
    shot_rows,
)
from tools.benchmarks.packages import PackageUnavailable
from workers.support.model import load_from

if TYPE_CHECKING:
    from vision.pipeline import Pipeline

UNAVAILABLE, CONFIGURATION = 69, 78
SETS = ("photos", "renders", "several", "real")
OBJECTS_TOGETHER = 3


class Measured:
    """The objects and the gallery of a set, and its queries, which are made when needed."""

    def __init__(
        self,
        name: str,
        objects: Sequence[sets.Source],
        places: list[sets.Source],
        pipeline: Pipeline,
        seed: int,
    ) -> None:
        self.name = name
        self.objects = objects
        self._places = places
        self._pipeline = pipeline
        self._seed = seed
        self.shots = [product_shot(one.cutout(), self._chance("shot", one.name)) for one in objects]
        self._print_head()
        self.described = self._described("gallery", self.shots)
        self.gallery = {
            kind: gallery_features(self.described, kind) for kind in (WHOLE, DETECTED, TRUE)
        }
        self._hard: tuple[list[Scene], list[Described]] | None = None

    def _chance(self, *words: object) -> random.Random:
        return random.Random(" ".join(map(str, (self._seed, self.name, *words))))

    def _background(self, rng: random.Random) -> Image.Image:
        return sets.background(self._ground(rng))

    def _ground(self, rng: random.Random) -> sets.Source:
        return rng.choice(self._places)

    def _described(self, words: str, scenes: Sequence[Scene]) -> list[Described]:
        return describe_all(self._pipeline, scenes, progress=progress(f"{self.name} {words}"))

    def _print_head(self) -> None:
        digest = hashlib.sha256()
        for scene in self.shots:
            digest.update(scene.picture.tobytes())
        print(
            f"\n{self.name}: {len(self.objects)} products, {len(self._places)} backgrounds,"
            f" gallery {digest.hexdigest()[:12]}"
        )

    def hard(self) -> tuple[list[Scene], list[Described]]:
        """Return the hard queries, one per product, and the model's output for them."""
        if self._hard is None:
            scenes = []
            for one in self.objects:
                rng = self._chance("hard", one.name)
                scenes.append(hard_query(one.cutout(), self._background(rng), rng))
            self._hard = scenes, self._described("hard", scenes)
        return self._hard

    def print_single(self) -> None:
        """Print the tables of the gallery's boxes, and of light, hard and small queries."""
        show("on white", shot_rows(self.shots, self.described))
        light = [
            light_query(shot, self._chance("light", one.name))
            for shot, one in zip(self.shots, self.objects, strict=True)
        ]
        show("light", query_rows(light, self._described("light", light), self.gallery))
        show("hard", query_rows(*self.hard(), self.gallery))
        small = []
        for one in self.objects:
            rng = self._chance("small", one.name)
            place = self._background(rng)
            small.append(hard_query(one.cutout(), place, rng, SMALL_SHARES))
        show("small", query_rows(small, self._described("small", small), self.gallery))

    def print_several(self) -> None:
        """Print the table of pictures with three products each; each product is in two."""
        scenes, products = [], []
        for turn in range(2):
            order = list(range(len(self.objects)))
            self._chance("several", turn).shuffle(order)
            for start in range(0, len(order) - OBJECTS_TOGETHER + 1, OBJECTS_TOGETHER):
                together = order[start : start + OBJECTS_TOGETHER]
                rng = self._chance("several", turn, start)
                cutouts = [self.objects[place].cutout() for place in together]
                scenes.append(several(cutouts, self._background(rng), rng))
                products.append(together)
        described = self._described("several", scenes)
        show("several, three products", several_rows(scenes, described, products, self.gallery))

    def print_crowd(self, crowd: dict[str, sets.Features]) -> None:
        """Print the tables of the hard queries in a gallery with distractors.

        In the first table all distractors count. In the second, those with the same background
        as the query are ignored, since a search with that query rightly finds them.
        """
        gallery = {
            kind: np.concatenate([self.gallery[kind], features]) for kind, features in crowd.items()
        }
        count = len(next(iter(crowd.values())))
        behind = (sets.distractor_ground(n, self._places, self._seed) for n in range(count))
        grounds = np.array([place.name if place else "" for place in behind])
        show(f"hard, crowd of {count}", query_rows(*self.hard(), gallery))
        left_out = np.zeros((len(self.objects), len(self.objects) + count), dtype=bool)
        for row, one in zip(left_out, self.objects, strict=True):
            # The background is the first random choice of a hard query.
            row[len(self.objects) :] = grounds == self._ground(self._chance("hard", one.name)).name
        least = count - int(left_out.sum(axis=1).max())
        show(
            f"hard, crowd of {least} or more on other grounds",
            query_rows(*self.hard(), gallery, left_out),
        )


def print_real(
    pipeline: Pipeline,
    photographs: Sequence[real.Photograph],
    behind: dict[str, sets.Features],
    seed: int,
) -> None:
    """Print the table of real photographs; `behind` has the features of the rest of the gallery."""
    scenes = [one.scene for one in photographs]
    shots = [
        retaken(scene, random.Random(f"{seed} real {number}"))
        for number, scene in enumerate(scenes)
    ]
    taken = describe_all(pipeline, shots, progress=progress("real gallery"))
    gallery = {
        kind: np.concatenate([gallery_features(taken, kind), features])
        for kind, features in behind.items()
    }
    described = describe_all(pipeline, scenes, progress=progress("real"))
    print(f"\nreal: {len(scenes)} photographs, {len(gallery[TRUE])} pictures in the gallery")
    show("as they are", query_rows(scenes, described, gallery))


def show(title: str, lines: Sequence[str]) -> None:
    """Print a table with a title."""
    print(f"\n{title}\n{HEADER}", *lines, sep="\n", flush=True)


def progress(words: str) -> Callable[[int], None]:
    """Return a function that shows on a terminal's error stream how many pictures are done."""

    def tell(number: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{words}: {number} ", end="", file=sys.stderr, flush=True)

    return tell


def run(pipeline: Pipeline, chosen: argparse.Namespace) -> None:
    """Make the sets and print all tables. Raises PackageUnavailable."""
    cache = chosen.cache.resolve()
    places = sets.backgrounds(cache)
    photos, crowd_objects = sets.stamps(cache)
    try:
        renders, _, free = sets.emoji(cache)
        crowd_objects = [*crowd_objects, *free]
        (cache / "held-out.tsv").write_text("\n".join(sets.held_out_lines(cache)) + "\n")
    except PackageUnavailable as error:
        print(f"no set renders: {error}")
        renders = []
    if chosen.objects:
        photos, renders = photos[: chosen.objects], renders[: chosen.objects]
    print(f"model {pipeline.model_id}, {pipeline.dimensions} numbers, seed {chosen.seed}")
    measured = []
    if {"photos", "several", "real"} & set(chosen.sets):
        photo_set = Measured("photos", photos, places, pipeline, chosen.seed)
        if "photos" in chosen.sets:
            photo_set.print_single()
            measured.append(photo_set)
        if "several" in chosen.sets:
            photo_set.print_several()
        if "real" in chosen.sets:
            taken = real.photographs(cache)
            taken = taken[: chosen.objects] if chosen.objects else taken
            print_real(pipeline, taken, photo_set.gallery, chosen.seed)
    if "renders" in chosen.sets and renders:
        render_set = Measured("renders", renders, places, pipeline, chosen.seed)
        render_set.print_single()
        measured.append(render_set)
    if chosen.crowd:
        features = crowd_features(
            pipeline,
            chosen.crowd,
            crowd_objects,
            places,
            chosen.seed,
            cache / "crowd",
            progress("crowd"),
        )
        for one in measured:
            print(f"\n{one.name}", end="")
            one.print_crowd(features)


def main() -> int:
    """Run the benchmark with the arguments of the command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.retrieval")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="all, if not named")
    parser.add_argument(
        "--crowd",
        type=int,
        default=0,
        help="distractors; 20000 took half an hour; goes on where it was stopped",
    )
    parser.add_argument("--objects", type=int, default=0, help="the first so many only; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="another one gives other pictures")
    parser.add_argument("--cache", type=Path, default=Path("benchmark-cache"), help="a folder")
    chosen = parser.parse_args()
    try:
        settings = read_settings()
        # As a worker loads it, with all settings, but on one core.
        pipeline = load_from(settings.model_copy(update={"torch_threads": 1}))
    except (SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return CONFIGURATION
    try:
        run(pipeline, chosen)
    except PackageUnavailable as error:
        print(f"the sets can't be made: {error}", file=sys.stderr)
        return UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
