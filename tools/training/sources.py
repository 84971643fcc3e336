"""The pictures that detector and embedder are trained on, all under free licences.

Files that the benchmark holds out are left out, and a background that looks like one of its
backgrounds is refused.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.benchmarks import sets
from tools.benchmarks.composition import trimmed
from tools.benchmarks.packages import debian_package

FURNITURE = "sweethome3d-furniture"
WALLPAPERS = (
    "plasma-workspace-wallpapers",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "gnome-backgrounds",
)
#: The largest sides of objects and of backgrounds, in pixels.
CUTOUT_SIDE, BACKGROUND_SIDE = 256, 1024
#: The least side of a texture in pixels; smaller ones are single colours.
LEAST_TEXTURE_SIDE = 128
#: The least share of transparent pixels of a cut-out.
LEAST_TRANSPARENT = 0.03
#: The greatest standard deviation of the sixteen cells of a surface, of 255.
MOST_SPREAD = 20.0
#: Wallpapers that show an object without a label.
WITH_OBJECTS = frozenset(
    {
        "FlyingKonqui",
        "Kite",
        "Picture_0B_by_freespace",
        "friends_by_Aitzol_Berasategi",
        "free_by_Peter_Nerlich",
        "pixels-d",
        "pixels-l",
    }
)
#: One of so many sources is used for validation.
VALIDATION_STRIDE = 10
#: The correlation of thumbnails above which they show the same wallpaper.
SAME_PICTURE = 0.97
THUMBNAIL_SIDE = 16


T = TypeVar("T")


@dataclass(frozen=True)
class Library:
    """The parts of scenes: cut-outs as RGBA, photos (`places`) and textures as RGB.

    Cut-outs are in groups of variants, such as the skin tones of an emoji.
    """

    cutouts: tuple[tuple[Image.Image, ...], ...]
    places: tuple[Image.Image, ...]
    textures: tuple[Image.Image, ...]


def load(cache: Path) -> tuple[Library, Library]:
    """Return the libraries for training and for validation; fetches packages once.

    Raises PackageUnavailable, and ValueError if a wallpaper is one that is held out.
    """
    root = _furniture(cache)
    icons = sorted(root.glob("*/*.png"))
    _, _, emoji = sets.emoji(cache)
    objects = [*icons, *(one.path for one in emoji)]
    places = [path for name in WALLPAPERS for path in _wallpapers(debian_package(name, cache))]
    # The pictures of the Reallusion collection are faces and clothes.
    textures = [p for p in sorted(root.rglob("*.[jJ][pP][gG]")) if "reallusion" not in p.parts]
    held_out = {line.rsplit("\t", 1)[1] for line in sets.held_out_lines(cache)}
    # Some emoji are copies of another one under a different name.
    objects, places, textures = (
        _without_held_out(kind, held_out) for kind in (objects, places, textures)
    )
    shown = [sets.background(one) for one in sets.backgrounds(cache)]
    thumbnails = np.stack([_thumbnail(picture) for picture in shown])
    shown_places = [(path.name, _picture(path)) for path in places]
    for name, picture in shown_places:
        if float((thumbnails @ _thumbnail(picture)).max()) > SAME_PICTURE:
            raise ValueError(f"{name} is a wallpaper that is held out")
    groups: dict[str, list[Image.Image]] = defaultdict(list)
    for path in objects:
        cutout = _cutout(path)
        if cutout is not None:
            groups[_group(path)].append(cutout)
    cutouts = [(name, tuple(group)) for name, group in groups.items()]
    pictures = ((path.name, _picture(path)) for path in textures)
    surfaces = [(name, picture) for name, picture in pictures if _is_surface(picture)]
    trained_on, validation = (
        Library(_part(cutouts, kept), _part(shown_places, kept), _part(surfaces, kept))
        for kept in (False, True)
    )
    return trained_on, validation


def _part(named: Iterable[tuple[str, T]], validation: bool) -> tuple[T, ...]:
    """Return the part for training or for validation, chosen by a hash of the name."""
    return tuple(
        one
        for name, one in named
        if (hashlib.sha256(name.encode()).digest()[0] % VALIDATION_STRIDE == 0) is validation
    )


def _group(path: Path) -> str:
    """Return the group of an object: the folder, and the file name up to the first hyphen."""
    return f"{path.parent.name}/{path.stem.split('-')[0]}"


def _is_surface(texture: Image.Image) -> bool:
    """Return whether a texture is uniform, such as wood, cloth or stone, and not a print."""
    if min(texture.size) < LEAST_TEXTURE_SIDE:
        return False
    cells = np.asarray(texture.resize((4, 4), Image.Resampling.BOX), dtype=np.float64)
    return float(cells.reshape(-1, 3).std(0).max()) < MOST_SPREAD


def _furniture(cache: Path) -> Path:
    folder = debian_package(FURNITURE, cache)
    unpacked = cache / f"{FURNITURE}-pictures"
    if not unpacked.is_dir():
        partial = unpacked.with_suffix(".part")
        for archive in sorted(folder.rglob("*.sh3f")):
            with zipfile.ZipFile(archive) as opened:
                names = (n for n in opened.namelist() if n.lower().endswith((".png", ".jpg")))
                opened.extractall(partial, names)
        partial.rename(unpacked)
    return unpacked


def _wallpapers(folder: Path) -> list[Path]:
    """Return one file for each wallpaper: the widest, if there are several."""
    chosen: dict[Path, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix not in {".jpg", ".png", ".webp"} or path.stem == "screenshot":
            continue
        if path.is_symlink() or not WITH_OBJECTS.isdisjoint((path.stem, path.parts[-4])):
            continue
        key = path.parent if path.parent.name.startswith("images") else path
        best = chosen.get(key)
        if best is None or _width(path) > _width(best):
            chosen[key] = path
    return list(chosen.values())


def _width(path: Path) -> int:
    with Image.open(path) as opened:
        return opened.width


def _without_held_out(paths: Iterable[Path], held_out: Container[str]) -> list[Path]:
    return [path for path in paths if hashlib.sha256(path.read_bytes()).hexdigest() not in held_out]


def _thumbnail(picture: Image.Image) -> NDArray[np.float64]:
    """Return the grey values of a small copy, shape (256,), of mean 0 and norm 1."""
    small = picture.convert("L").resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float64).ravel()
    values -= values.mean()
    length = float(np.linalg.norm(values))
    return values / length if length else values


def _cutout(path: Path) -> Image.Image | None:
    with Image.open(path) as opened:
        figure = opened.convert("RGBA")
    alpha = np.asarray(figure.getchannel("A"))
    if (alpha < 64).mean() < LEAST_TRANSPARENT or not (alpha >= 64).any():
        return None
    figure = trimmed(figure)
    figure.thumbnail((CUTOUT_SIDE, CUTOUT_SIDE), Image.Resampling.LANCZOS)
    return figure


def _picture(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        opened.draft("RGB", (BACKGROUND_SIDE, BACKGROUND_SIDE))
        picture = opened.convert("RGB")
    picture.thumbnail((BACKGROUND_SIDE, BACKGROUND_SIDE), Image.Resampling.BILINEAR)
    return picture
