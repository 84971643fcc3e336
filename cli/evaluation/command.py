"""The command line of the evaluation."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from cli.evaluation.measures import Measures, Share, measured
from cli.evaluation.outcome import Outcome, outcomes
from cli.evaluation.pairs import Pair, PairsError, read_pairs
from cli.evaluation.service import Service, ServiceError


@click.command("evaluate")
@click.argument("pairs", type=click.Path(path_type=Path))
@click.option("--collection", required=True, help="The collection that is searched.")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="The service.")
@click.option("--api-key", envvar="EVALUATE_API_KEY", default="", help="Or EVALUATE_API_KEY.")
@click.option("--topk", type=click.IntRange(5, 200), default=50, show_default=True)
@click.option(
    "--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Searches at once."
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("evaluation.html"),
    show_default=True,
    help="Where the misses are shown, with pictures.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the measures as JSON.")
def evaluate_command(
    pairs: Path,
    collection: str,
    url: str,
    api_key: str,
    topk: int,
    threads: int,
    page: Path,
    as_json: bool,
) -> None:
    """Search with the pictures of a CSV file, and tell how often the right product is first.

    PAIRS names in its first line the columns query (a URL, or a file beside it), product_id and, if
    wanted, category. Several lines of one query name several right products.
    """
    # Imported here, since no other command needs its libraries.
    from cli.evaluation.page import write_page

    try:
        read = read_pairs(pairs)
        service = Service(url, collection, api_key)
        service.check()
        judged, unknown = _judged(service, read)
        folder = pairs.resolve().parent
        found = _searched(service, judged, folder, topk=topk, threads=threads)
        measures = measured(
            [one.ranks for one in found],
            [len(one.pair.products) for one in found],
            [one.found.milliseconds for one in found if one.found.milliseconds] or [0.0],
        )
        write_page(page, found, measures, service, folder, collection)
    except (PairsError, ServiceError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(_as_json(found, measures, unknown, topk))
    else:
        click.echo(_as_text(found, measures, unknown, topk))
        click.echo(f"The misses, with pictures: {page}")


def _judged(service: Service, pairs: Sequence[Pair]) -> tuple[list[Pair], list[str]]:
    """Return the queries that can be judged, and the products that the collection lacks.

    A product without an image can't be found, so it is no right answer; a query without another
    one is left out. Raises ServiceError, and PairsError if no query is left.
    """
    products = sorted({product for pair in pairs for product in pair.products})
    unknown = [product for product in products if service.image_of(product) is None]
    judged = []
    for pair in pairs:
        pair.products.difference_update(unknown)
        if pair.products:
            judged.append(pair)
    if not judged:
        raise PairsError("the collection has an image of none of the products")
    return judged, unknown


def _searched(
    service: Service, pairs: Sequence[Pair], folder: Path, *, topk: int, threads: int
) -> list[Outcome]:
    found = outcomes(service, pairs, folder, topk=topk, threads=threads)
    # On stderr, so that what is printed of the result can be piped.
    with click.progressbar(found, length=len(pairs), label="searching", file=sys.stderr) as bar:
        return list(bar)


def _as_text(
    found: Sequence[Outcome], measures: Measures, unknown: Sequence[str], topk: int
) -> str:
    refused = sum(bool(one.found.refusal) for one in found)
    absent = sum(not one.ranks and not one.found.refusal for one in found)
    slow = f"{measures.slow_milliseconds:.0f} or less"
    lines = [
        f"queries       {len(found)}",
        f"recall@1      {_interval(measures.recall_at_1)}",
        f"recall@5      {_interval(measures.recall_at_5)}",
        f"mAP           {measures.mean_average_precision:.3f}",
        f"milliseconds  {measures.median_milliseconds:.0f} in the median, {slow} for 95 of 100",
        f"not found     {absent} of the queries have no right product among the first {topk}",
    ]
    if refused:
        lines.append(f"refused       {refused} pictures, which count as misses")
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        lines.append(f"left out      {len(unknown)} products without an image here: {shown}")
    return "\n".join(lines)


def _interval(of: Share) -> str:
    return f"{of.value:.3f}  ({of.low:.3f} to {of.high:.3f} in 95 cases of 100)"


def _as_json(
    found: Sequence[Outcome], measures: Measures, unknown: Sequence[str], topk: int
) -> str:
    queries = [
        {
            "query": one.pair.query,
            "expected": sorted(one.pair.products),
            "ranks": one.ranks,
            "refusal": one.found.refusal,
        }
        for one in found
    ]
    return json.dumps(
        {**asdict(measures), "topk": topk, "left_out": list(unknown), "queries": queries},
        ensure_ascii=False,
        indent=2,
    )
