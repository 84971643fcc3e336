"""What a set is made of: pictures, and searches whose right answer is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import PIL
from PIL import Image, ImageOps

from tools.benchmarks import composition, sets
from tools.benchmarks.composition import Scene

#: The longer side of a photograph that is opened, in pixels; larger ones take long to decode.
LONGEST = 1600


@dataclass(frozen=True)
class Picture:
    """A picture that is made when its features are not stored yet.

    `key` names all that the picture depends on: those with the same key are the same.
    """

    key: str
    make: Callable[[], Scene] = field(compare=False)


@dataclass(frozen=True)
class Search:
    """A picture to search with, and the position of the right one in the gallery.

    `kind` is what it shows: all searches of a kind are in the same half. `shown` is the position of
    the product's box where the picture shows several, and is searched by a box of its own. `ground`
    names the background, "" if it is in no other picture.
    """

    picture: Picture
    right: int
    kind: str
    shown: int | None = None
    ground: str = ""

    @property
    def half(self) -> int:
        """The half of the searches that this one is in, 0 or 1."""
        return half_of(self.kind)


@dataclass(frozen=True)
class SearchSet:
    """Searches in one gallery.

    `grounds`, if not empty, names the background of each picture of the gallery: a search leaves
    out the pictures with its own.
    """

    name: str
    gallery: tuple[Picture, ...]
    searches: tuple[Search, ...]
    grounds: tuple[str, ...] = ()

    def behind(
        self, words: str, crowd: Sequence[Picture], grounds: Sequence[str] = ()
    ) -> SearchSet:
        """Return the same searches with a crowd behind the gallery; `words` tell which."""
        named = ("",) * len(self.gallery) + tuple(grounds) if grounds else ()
        gallery = (*self.gallery, *crowd)
        return replace(self, name=f"{self.name}, {words}", gallery=gallery, grounds=named)


def half_of(kind: str) -> int:
    """Return 0 if searches of a kind are there to choose by, and 1 if they are there to judge by.

    The last byte of a hash decides it: pictures may have been put aside by the first one.
    """
    return hashlib.sha256(kind.encode()).digest()[-1] % 2


def file_picture(path: Path) -> Picture:
    """Return the picture of a file, whose key is the hash of its bytes."""
    return Picture(f"file {file_hash(path)}", lambda: Scene(opened(path), ()))


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def opened(path: Path) -> Image.Image:
    """Return the upright picture of a file as RGB, scaled down to at most `LONGEST` a side."""
    with Image.open(path) as found:
        found.draft("RGB", (LONGEST, LONGEST))
        picture = ImageOps.exif_transpose(found).convert("RGB")
    picture.thumbnail((LONGEST, LONGEST))
    return picture


@cache
def composing() -> str:
    """Return twelve hex digits that change with Pillow and the code that composes pictures."""
    digest = hashlib.sha256(PIL.__version__.encode())
    for module in (composition, sets):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:12]
