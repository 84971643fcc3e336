"""The sets of objects and backgrounds for the retrieval benchmark.

They must never be used for training: no file of the Debian packages, and no emoji for which
`is_held_out` is true.
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
#: The file that names the emoji of the demo and the tests.
DEMO_MANIFEST = Path(__file__).parents[2] / "samples" / "manifest.json"
#: The least longer side in pixels, and the least count of colours at five bits a channel, of an
#: object of a set: those with fewer are drawings or symbols.
LEAST_SIDE, LEAST_COLOURS = 150, 200
#: One of so many groups of emoji is held out.
HELD_OUT_STRIDE = 3
BACKGROUND_SIDE = 1600
MOST_PIXELS = 64_000_000


@dataclass(frozen=True)
class Source:
    """A file of a package, with its name in the list of held-out files."""

    package: str
    name: str
    path: Path

    def cutout(self) -> Image.Image:
        """Return the picture as RGBA."""
        return _opened(str(self.path))


@lru_cache(maxsize=1024)
def _opened(path: str) -> Image.Image:
    with Image.open(path) as opened:
        return opened.convert("RGBA")


def stamps(folder: Path) -> tuple[list[Source], list[Source]]:
    """Return the photographed cut-outs with many colours, and the other stamps.

    Mirrored and repeated cut-outs are in neither list.
    """
    root = debian_package(STAMPS, folder) / "usr/share/tuxpaint/stamps"
    chosen, others = [], []
    seen: set[bytes] = set()
    for path in sorted(root.rglob("*.png")):
        source = Source(STAMPS, path.relative_to(root).as_posix(), path)
        with Image.open(path) as opened:
            transparent = opened.has_transparency_data
        if not transparent or not _is_photo(source):
            others.append(source)
        # No model could tell the same object apart in a gallery; repeated ones must not be
        # among the distractors either.
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
    """Return a background as RGB, its longer side at most `BACKGROUND_SIDE` pixels.

    Raises ValueError if it has more than MOST_PIXELS pixels.
    """
    with Image.open(source.path) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"{source.name} is too large")
        opened.draft("RGB", (BACKGROUND_SIDE, BACKGROUND_SIDE))
        picture = opened.convert("RGB")
    picture.thumbnail((BACKGROUND_SIDE, BACKGROUND_SIDE), Image.Resampling.BILINEAR)
    return picture


def is_held_out(code: str, demo_codes: frozenset[str]) -> bool:
    """Return whether an emoji, by the stem of its file name, is held out.

    Emoji with the same first code point, such as skin tones, form a group that is held out as a
    whole. All groups of the demo are held out.
    """
    group = code.split("-")[0]
    digest = hashlib.sha256(group.encode()).digest()
    return group in demo_codes or digest[0] % HELD_OUT_STRIDE == 0


def emoji(folder: Path) -> tuple[list[Source], list[Source], list[Source]]:
    """Return the emoji of the set, the other held-out ones, and those that are not held out.

    The set has the held-out emoji of one code point; their variants differ too little.
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
    """Yield pictures of other objects, of parts of them, and of backgrounds, each with one box.

    Those before number `start` are skipped; the others do not depend on it.
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
    """Return the background of a distractor; None for every second one, which is on white."""
    if number % 2 == 0:
        return None
    return random.Random(f"{seed} crowd ground {number}").choice(places)


def _whole(picture: Image.Image) -> Scene:
    return Scene(picture, (Box(0, 0, *picture.size),))


def _recoloured(figure: Image.Image, rng: random.Random) -> Image.Image:
    """Return a figure with shifted hue, in half of the cases mirrored, so that it may repeat."""
    changed = other_hue(figure.convert("RGB"), rng)
    changed.putalpha(figure.getchannel("A"))
    mirrored = rng.random() < 0.5
    return changed.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else changed


def held_out_lines(folder: Path) -> list[str]:
    """Return a sorted line for each held-out file: package, path and SHA-256, with tabs between."""
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
