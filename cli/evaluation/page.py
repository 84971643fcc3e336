"""The page of misses: each query beside what was found and what ought to have been."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image, ImageDraw, ImageOps

from cli.evaluation.measures import Measures
from cli.evaluation.outcome import Outcome
from cli.evaluation.service import Service

#: The longer side of a query on the page, in pixels.
SIDE = 320
#: Products shown of those that were found instead.
SHOWN = 5
BOX_COLOUR = (220, 40, 90)


@dataclass(frozen=True)
class ShownProduct:
    """A product on the page."""

    product_id: str
    name: str
    similarity: float | None  #: None for one that was not found
    picture: str | None  #: a data: URL, None if no picture is kept
    is_right: bool


@dataclass(frozen=True)
class ShownMiss:
    """A query on the page."""

    query: str
    picture: str | None
    why: str
    found: list[ShownProduct]
    expected: list[ShownProduct]


def write_page(
    file: Path,
    outcomes: Sequence[Outcome],
    measures: Measures,
    service: Service,
    folder: Path,
    collection: str,
) -> None:
    """Write a page, which needs no other file, with the queries whose first product is wrong.

    Raises OSError if it can't be written, and ServiceError.
    """
    environment = Environment(
        loader=PackageLoader("cli.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    misses = [_shown(outcome, service, folder) for outcome in outcomes if outcome.is_miss]
    text = environment.get_template("page.html.j2").render(
        collection=collection, count=len(outcomes), measures=measures, misses=misses
    )
    file.write_text(text, encoding="utf-8")


def _shown(outcome: Outcome, service: Service, folder: Path) -> ShownMiss:
    pair, found = outcome.pair, outcome.found
    best = [
        ShownProduct(
            product_id=image["product_id"],
            name=image["product_name"],
            similarity=image["similarity"],
            picture=_data_url(service.picture(image["product_id"], image["image_id"])),
            is_right=image["product_id"] in pair.products,
        )
        for image in found.images[:SHOWN]
    ]
    listed = {product.product_id for product in best if product.is_right}
    if found.refusal:
        why = found.refusal
    elif outcome.ranks:
        why = f"the right product has rank {outcome.ranks[0]}"
    else:
        why = f"the right product is not among the first {len(found.images)}"
    return ShownMiss(
        query=pair.query,
        picture=None if pair.is_url else _with_boxes(pair.path(folder), found.boxes),
        why=why,
        found=best,
        expected=list(_expected(sorted(pair.products - listed), service)),
    )


def _expected(product_ids: Iterable[str], service: Service) -> Iterable[ShownProduct]:
    for product_id in product_ids:
        image_id = service.image_of(product_id)
        picture = None if image_id is None else service.picture(product_id, image_id)
        yield ShownProduct(product_id, "", None, _data_url(picture), is_right=True)


def _with_boxes(path: Path, boxes: Iterable[dict[str, int]]) -> str | None:
    """Return a picture with the boxes that the service found in it, None if it can't be read."""
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    scale = SIDE / max(picture.size)
    picture = picture.resize([max(1, round(side * scale)) for side in picture.size])
    pen = ImageDraw.Draw(picture)
    for number, box in enumerate(boxes):
        corners = [box[side] * scale for side in ("left", "top", "right", "bottom")]
        pen.rectangle(corners, outline=BOX_COLOUR, width=3 if number == 0 else 1)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=80)
    return _data_url(data.getvalue())


def _data_url(jpeg: bytes | None) -> str | None:
    return None if jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
