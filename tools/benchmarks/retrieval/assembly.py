"""All sets of a run, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.benchmarks import sets
from tools.benchmarks.packages import PackageUnavailable
from tools.benchmarks.retrieval import real, shop
from tools.benchmarks.retrieval.composed import Composer, crowd
from tools.benchmarks.retrieval.pictures import SearchSet, file_picture

NAMES = ("grocery", "photos", "several", "clutter", "scenes", "real", "renders")


@dataclass(frozen=True)
class Choice:
    """Which sets to make: `crowd` is a count of distractors, `objects` the most of a set, 0: all.

    `cache` is the folder of the packages; `pictures` that of the photographs of a shop and of
    clothes, None without.
    """

    names: Sequence[str]
    cache: Path
    pictures: Path | None
    crowd: int
    objects: int
    seed: int


def assembled(choice: Choice, tell: Callable[[str], None]) -> list[SearchSet]:
    """Return the sets; `tell` is called with a line for each that can't be made.

    Raises PackageUnavailable if a package is missing that most of them need.
    """
    return _Assembly(choice, tell).all()


class _Assembly:
    """What the sets of a run share."""

    def __init__(self, choice: Choice, tell: Callable[[str], None]) -> None:
        self._choice = choice
        self._tell = tell
        self._most = choice.objects or None
        self._places = sets.backgrounds(choice.cache)
        photos, self._others = sets.stamps(choice.cache)
        self._photos = self._composer("photos", photos)
        self._renders: Composer | None = None
        try:
            renders, _, free = sets.emoji(choice.cache)
            self._others = [*self._others, *free]
            lines = sets.held_out_lines(choice.cache)
            (choice.cache / "held-out.tsv").write_text("\n".join(lines) + "\n")
            self._renders = self._composer("renders", renders)
        except PackageUnavailable as error:
            tell(f"no set renders: {error}")

    def all(self) -> list[SearchSet]:
        makers: dict[str, Callable[[], list[SearchSet]]] = {
            "grocery": self._grocery,
            "photos": lambda: self._singles(self._photos),
            "several": lambda: [self._photos.several()],
            "clutter": self._clutter,
            "scenes": self._scenes,
            "real": lambda: [real.searches(self._real(), self._photos.gallery, self._choice.seed)],
            "renders": lambda: self._singles(self._renders) if self._renders else [],
        }
        found = [one for name in NAMES if name in self._choice.names for one in makers[name]()]
        return found + (self._crowded() if self._choice.crowd else [])

    def _composer(self, name: str, objects: Sequence[sets.Source]) -> Composer:
        return Composer(name, objects[: self._most], self._places, self._choice.seed)

    def _singles(self, composer: Composer) -> list[SearchSet]:
        return [composer.light(), composer.hard(), composer.small()]

    def _grocery(self) -> list[SearchSet]:
        if self._choice.pictures is None:
            self._tell("no set grocery: --pictures names no folder")
            return []
        behind = [file_picture(path) for path in self._clothes()]
        alone = shop.grocery(self._choice.pictures)
        return [*alone, *(one.behind("crowd", behind) for one in alone)]

    def _clutter(self) -> list[SearchSet]:
        taken = [one.picture() for one in self._real()]
        found = [self._photos.clutter("clutter", taken)]
        if self._clothes():
            clothes = [file_picture(path) for path in self._clothes()]
            found.append(self._photos.clutter("clutter, clothes", clothes))
        return found

    def _scenes(self) -> list[SearchSet]:
        places = [place.path for place in self._places]
        scenes = [*places, *self._clothes()[:: shop.SCENE_STRIDE]]
        return [shop.scenes(scenes[: self._most], self._choice.seed)]

    def _real(self) -> list[real.Photograph]:
        return real.photographs(self._choice.cache)[: self._most]

    def _clothes(self) -> list[Path]:
        return shop.clothes(self._choice.pictures) if self._choice.pictures else []

    def _crowded(self) -> list[SearchSet]:
        behind, grounds = crowd(self._choice.crowd, self._others, self._places, self._choice.seed)
        found = []
        for composer in (self._photos, self._renders):
            if composer is not None and composer.name in self._choice.names:
                hard = composer.hard()
                found.append(hard.behind("crowd", behind))
                found.append(hard.behind("crowd on other grounds", behind, grounds))
        return found
