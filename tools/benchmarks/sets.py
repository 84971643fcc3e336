"""The sets of objects and backgrounds that retrieval is measured with.

Nothing of them may ever be trained on: of the Debian packages no file at all, of the emoji
package what `is_held_out` says. Knows the packages' folders; nothing of models.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.benchmarks.composition import Scene, hard_query, other_hue, piece, product_shot
from tools.benchmarks.packages import debian_package, npm_package
from vision.box import Box

Features = NDArray[np.float32]

STAMPS = "tuxpaint-stamps-default"
WALLPAPERS = ("mate-backgrounds", "ukui-wallpapers")
EMOJI, EMOJI_VERSION = "@lobehub/fluent-emoji-3d", "1.1.0"
#: Names the emoji that the demo and the tests measure with.
DEMO_MANIFEST = Path(__file__).parents[2] / "samples" / "manifest.json"
#: An object is measured with from so many pixels on its longer side and so many colours on,
#: counted at five bits a channel: what has fewer is a drawing or a symbol.
LEAST_SIDE, LEAST_COLOURS = 150, 200
#: One group of emoji in so many is held out.
HELD_OUT_STRIDE = 3
BACKGROUND_SIDE = 1600
MOST_PIXELS = 64_000_000


@dataclass(frozen=True)
class Source:
    """A file of a package, as named in the list of what is held out."""

    package: str
    name: str
    path: Path

    def cutout(self) -> Image.Image:
        """Open the file as RGBA."""
        return _opened(str(self.path))


@lru_cache(maxsize=1024)
def _opened(path: str) -> Image.Image:
    with Image.open(path) as opened:
        return opened.convert("RGBA")


def stamps(folder: Path) -> tuple[list[Source], list[Source]]:
    """Return the photographed cut-outs with many colours, and the other stamps."""
    root = debian_package(STAMPS, folder) / "usr/share/tuxpaint/stamps"
    chosen, others = [], []
    seen: set[bytes] = set()
    for path in sorted(root.rglob("*.png")):
        source = Source(STAMPS, path.relative_to(root).as_posix(), path)
        with Image.open(path) as opened:
            transparent = opened.has_transparency_data
        if not transparent or not _is_photo(source):
            others.append(source)
        # The same object twice in a gallery could not be told apart by any model; what is
        # left out must not be among the distractors either.
        elif not path.stem.endswith("_mirror") and source.cutout().tobytes() not in seen:
            seen.add(source.cutout().tobytes())
            chosen.append(source)
    return chosen, others


def _is_photo(source: Source) -> bool:
    if "cartoon" in source.name.split("/"):
        return False
    pixels = np.asarray(source.cutout())
    opaque = pixels[..., 3] > 0
    if not opaque.any():
        return False
    rows, columns = np.nonzero(opaque)
    colours = np.unique(pixels[pixels[..., 3] > 200][:, :3] >> 3, axis=0)
    side = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    return side >= LEAST_SIDE and len(colours) >= LEAST_COLOURS


def backgrounds(folder: Path) -> list[Source]:
    """Return the photos and opaque paintings among the wallpapers."""
    mate, ukui = (debian_package(name, folder) / "usr/share/backgrounds" for name in WALLPAPERS)
    files = [
        *((WALLPAPERS[0], path) for path in sorted((mate / "mate/nature").glob("*.jpg"))),
        *((WALLPAPERS[1], path) for path in sorted(ukui.glob("*.[jp][pn]g"))),
    ]
    return [Source(package, path.name, path) for package, path in files]


@cache
def background(source: Source) -> Image.Image:
    """Open a background as RGB, its longer side at most `BACKGROUND_SIDE` pixels."""
    with Image.open(source.path) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"{source.name} is too large")
        opened.draft("RGB", (BACKGROUND_SIDE, BACKGROUND_SIDE))
        picture = opened.convert("RGB")
    picture.thumbnail((BACKGROUND_SIDE, BACKGROUND_SIDE), Image.Resampling.BILINEAR)
    return picture


def is_held_out(code: str, demo_codes: frozenset[str]) -> bool:
    """Return whether an emoji, by its file's name, is held out.

    Those with the same first code point, such as the skin tones of one, go together; so do
    the demo's objects, all of which are held out.
    """
    group = code.split("-")[0]
    digest = hashlib.sha256(group.encode()).digest()
    return group in demo_codes or digest[0] % HELD_OUT_STRIDE == 0


def emoji(folder: Path) -> tuple[list[Source], list[Source], list[Source]]:
    """Return the emoji measured with, others that are held out too, and those that are not.

    Measured are the held-out ones of one code point: their variants differ too little.
    """
    assets = npm_package(EMOJI, EMOJI_VERSION, folder) / "assets"
    listed = json.loads(DEMO_MANIFEST.read_text(encoding="utf-8"))["images"]
    demo_codes = frozenset(Path(image["source"]).stem.split("-")[0] for image in listed)
    measured, variants, free = [], [], []
    for path in sorted(assets.glob("*.webp")):
        source = Source(EMOJI, path.name, path)
        if not is_held_out(path.stem, demo_codes):
            free.append(source)
        elif set(path.stem.split("-")[1:]) <= {"fe0f"}:
            measured.append(source)
        else:
            variants.append(source)
    return measured, variants, free


def distractors(
    count: int, objects: list[Source], places: list[Source], seed: int, start: int = 0
) -> Iterator[Scene]:
    """Make pictures of other objects, parts of them, and of backgrounds; each with one box.

    From number `start` on, which are the same as without it.
    """
    for number in range(start, count):
        rng = random.Random(f"{seed} crowd {number}")
        figure = _recoloured(rng.choice(objects).cutout(), rng)
        ground = distractor_ground(number, places, seed)
        if ground is None and number % 4 == 0:
            yield product_shot(figure, rng)
        elif ground is None:
            shot = product_shot(figure, rng).picture
            side = round(shot.width * rng.uniform(0.35, 0.6))
            left, top = (rng.randint(0, shot.width - side) for _ in range(2))
            yield _whole(shot.crop((left, top, left + side, top + side)))
        elif number % 4 == 1:
            yield hard_query(figure, background(ground), rng)
        else:
            place = background(ground)
            side = round(min(place.size) * rng.uniform(0.15, 0.6))
            left, top = rng.randint(0, place.width - side), rng.randint(0, place.height - side)
            cut = place.crop((left, top, left + side, top + side))
            yield _whole(piece(cut, (400, 400), rng))


def distractor_ground(number: int, places: list[Source], seed: int) -> Source | None:
    """Return the background of a distractor; None for those on white, every second one."""
    if number % 2 == 0:
        return None
    return random.Random(f"{seed} crowd ground {number}").choice(places)


def _whole(picture: Image.Image) -> Scene:
    return Scene(picture, (Box(0, 0, *picture.size),))


def _recoloured(figure: Image.Image, rng: random.Random) -> Image.Image:
    """Shift the hue by chance and mirror half of them, so that an object can come again."""
    changed = other_hue(figure.convert("RGB"), rng)
    changed.putalpha(figure.getchannel("A"))
    mirrored = rng.random() < 0.5
    return changed.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else changed


def held_out_lines(folder: Path) -> list[str]:
    """List every file that may not be trained on: package, path in it, SHA-256 of its bytes."""
    files: list[tuple[str, str, Path]] = []
    for package in (STAMPS, *WALLPAPERS):
        root = debian_package(package, folder)
        pictures = (path for path in root.rglob("*") if path.suffix in {".png", ".jpg", ".svg"})
        files += [(package, path.relative_to(root).as_posix(), path) for path in pictures]
    measured, variants, _ = emoji(folder)
    files += [(EMOJI, f"assets/{one.name}", one.path) for one in (*measured, *variants)]
    return sorted(
        f"{package}\t{name}\t{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for package, name, path in files
        if path.is_file() and not path.is_symlink()
    )
