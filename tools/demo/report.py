"""The results as a table for the terminal, and as a web page in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from tools.demo.flow import Box, Outcome, Summary
    from tools.demo.manifest import Manifest

TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Frame:
    """A box as an overlay, in percent of the picture's width and height."""

    left: float
    top: float
    width: float
    height: float


def frame(box: Box, width: int, height: int) -> Frame:
    """Return `box` (pixels) in percent of a picture of `width` by `height` pixels."""
    left, top, right, bottom = box
    return Frame(
        left=round(100 * left / width, 2),
        top=round(100 * top / height, 2),
        width=round(100 * (right - left) / width, 2),
        height=round(100 * (bottom - top) / height, 2),
    )


def box_text(box: Box | None) -> str:
    """Return the box as text, in whole pixels; a dash for None."""
    return "–" if box is None else "{:.0f}, {:.0f}, {:.0f}, {:.0f}".format(*box)


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return the outcomes as a table for the terminal."""
    shown = Table(title="Searches", row_styles=("", "dim"))
    for heading in ("query", "expected product"):
        shown.add_column(heading, overflow="fold")
    for heading in ("rank", "similarity", "box", "ms"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        rank = "–" if outcome.rank is None else str(outcome.rank)
        shown.add_row(
            escape(outcome.error or outcome.query.description),
            escape(f"{outcome.query.product_id} {outcome.expected_name}"),
            f"[green]{rank}[/green]" if outcome.rank == 1 else f"[red]{rank}[/red]",
            "–" if outcome.similarity is None else f"{outcome.similarity:.3f}",
            box_text(outcome.box),
            f"{outcome.milliseconds:.0f}",
        )
    return shown


def render(
    outcomes: Sequence[Outcome],
    summary: Summary,
    failures: Sequence[tuple[str, str]],
    pictures: dict[str, str],
) -> str:
    """Return the page as HTML; `pictures` has the addresses by query_id and by product_id.

    All values are escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = [
        {
            "outcome": outcome,
            "frame": None
            if outcome.box is None
            else frame(outcome.box, outcome.query.width, outcome.query.height),
            "box": box_text(outcome.box),
        }
        for outcome in outcomes
    ]
    template = environment.get_template(TEMPLATE)
    return template.render(rows=rows, summary=summary, failures=failures, pictures=pictures)


def write(
    folder: Path,
    outcomes: Sequence[Outcome],
    summary: Summary,
    failures: Sequence[tuple[str, str]],
    manifest: Manifest,
) -> Path:
    """Write index.html and its pictures into `folder`, and return the path of the page."""
    beside = folder / "images"
    beside.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, str] = {}
    samples = manifest.first_images()
    for outcome in outcomes:
        query = outcome.query
        pictures[query.query_id] = f"images/{query.query_id}.jpg"
        (folder / pictures[query.query_id]).write_bytes(query.content)
        shown = {query.product_id} | ({outcome.first.product_id} if outcome.first else set())
        for product_id in shown:
            source = samples[product_id].path
            pictures[product_id] = f"images/{source.name}"
            (folder / pictures[product_id]).write_bytes(source.read_bytes())
    page = folder / "index.html"
    page.write_text(render(outcomes, summary, failures, pictures), "utf-8")
    return page
