"""The command `python -m tools.demo`: start the service, add pictures, search, report, stop.

With `--url` it starts and stops nothing, and uses the service that answers there. Reads no
environment variable.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    track,
)

from tools.demo import fileserver, report, stack
from tools.demo.client import SnapskuClient, SnapskuError
from tools.demo.flow import FlowError, Ingest, Outcome, create_products, ingest, search, summarise
from tools.demo.manifest import SAMPLES, Manifest, load
from tools.demo.queries import make_queries

#: The width of the output if it is not a terminal, such as a CI log: enough for the table.
LOG_WIDTH = 140


def interrupted(number: int, _frame: FrameType | None) -> NoReturn:
    """Raise SystemExit for a signal, so that everything that was started is stopped."""
    raise SystemExit(128 + number)


def ingest_with_bar(
    client: SnapskuClient, collection: str, manifest: Manifest, file_url: str, console: Console
) -> Ingest:
    """Submit all pictures, and show the progress of the tasks."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        row = bar.add_task("Ingesting", total=len(manifest.images), failed=0)

        def advance(succeeded: int, failed: int) -> None:
            bar.update(row, completed=succeeded + failed, failed=failed)

        return ingest(client, collection, manifest.images, file_url, advance)


def exercise(
    client: SnapskuClient, file_url: str, console: Console
) -> tuple[Manifest, Ingest, list[Outcome]]:
    """Add the samples to a new collection, and search it with every query.

    Raises FlowError, SnapskuError and requests.RequestException.
    """
    manifest = load()
    queries = make_queries(manifest)
    # A new name for each run, so that no other collection is touched.
    collection = f"demo-{secrets.token_hex(4)}"
    count = create_products(client, collection, manifest)
    console.print(f"{count} products created in {collection}")
    ingested = ingest_with_bar(client, collection, manifest, file_url, console)
    for image_id, reason in ingested.failures:
        console.print(f"{image_id}: {reason}", style="red", markup=False)
    names = {row["product_id"]: row["product_name"] for row in manifest.products()}
    outcomes = [
        search(client, collection, query, names[query.product_id])
        for query in track(queries, "Searching", console=console)
    ]
    return manifest, ingested, outcomes


def run(output: Path, console: Console, command: Sequence[str] = stack.COMMAND) -> int:
    """Run the whole demo, and return the exit status: 0 if it passed, else 1."""
    output.mkdir(parents=True, exist_ok=True)
    log = output / "stack.log"
    port, flower_port = stack.free_ports(2)
    base_url = f"http://{stack.HOST}:{port}"
    with (
        tempfile.TemporaryDirectory(prefix="snapsku-demo-") as data_dir,
        fileserver.serve(SAMPLES / "products") as file_port,
    ):
        settings = stack.settings(Path(data_dir), port, flower_port, file_port)
        running = stack.Stack(settings, log, command=command)
        try:
            console.print(f"Starting the stack on {base_url} (its output: {log})")
            seconds = running.wait_ready(f"{base_url}/readyz")
            console.print(f"Ready after {seconds:.1f} s")
            with SnapskuClient(base_url) as client:
                manifest, ingested, outcomes = exercise(
                    client, f"http://{fileserver.HOST}:{file_port}", console
                )
        except (stack.StackError, FlowError, SnapskuError, requests.RequestException) as error:
            console.print(f"The demo failed: {error}", style="red", markup=False)
            console.print(running.tail(), markup=False, highlight=False)
            return 1
        finally:
            running.stop()
    return tell(output, console, manifest, ingested, outcomes)


def tell(
    output: Path, console: Console, manifest: Manifest, ingested: Ingest, outcomes: list[Outcome]
) -> int:
    """Write the page, print the figures, and return the exit status: 0 if enough was found."""
    summary = summarise(ingested, outcomes)
    page = report.write(output, outcomes, summary, ingested.failures, manifest)
    console.print(report.table(outcomes))
    console.print(f"Page: {page}")
    console.print(summary.line(), style="green" if summary.passed else "red")
    return 0 if summary.passed else 1


def run_on(url: str, api_key: str, output: Path, console: Console) -> int:
    """Run the demo on the service at `url`, and return the exit status as `run` does.

    All pictures are sent as Base64, since the service may be unable to fetch from this machine.
    """
    output.mkdir(parents=True, exist_ok=True)
    try:
        with SnapskuClient(url, api_key=api_key) as client:
            manifest, ingested, outcomes = exercise(client, "", console)
    except (FlowError, SnapskuError, requests.RequestException) as error:
        console.print(f"The demo failed: {error}", style="red", markup=False)
        return 1
    return tell(output, console, manifest, ingested, outcomes)


def main(command: Sequence[str] = stack.COMMAND) -> int:
    """Run the demo with the arguments of the command line, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo", description="The demo of snapsku."
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="folder for page and log"
    )
    parser.add_argument("--url", default="", help="of a running service, such as http://host:8000")
    parser.add_argument("--key-file", type=Path, help="holds the API key for --url")
    chosen = parser.parse_args()
    output: Path = chosen.output
    console = Console()
    if not console.is_terminal:
        console = Console(width=LOG_WIDTH)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        if chosen.url:
            api_key = chosen.key_file.read_text("utf-8").strip() if chosen.key_file else ""
            return run_on(chosen.url, api_key, output, console)
        return run(output, console, command)
    except (stack.StackError, OSError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
