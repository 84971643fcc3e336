"""`snapsku backup` and `snapsku restore`: a whole catalogue into one file, and back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from catalog.backup.archive import open_archive
from catalog.backup.consistent_rows import Contents
from catalog.backup.dumping import Progress as Told
from catalog.backup.restoring import require_room, restore
from catalog.backup.taking import check_backup, read_through, take_backup
from catalog.database.connection import connect_patiently
from cli.faults import told_in_one_line
from cli.servers import connected, running_servers
from config.logging import configure_logging
from config.settings import Settings, read_settings

FILE = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.command("backup")
@FILE
def backup_command(file: Path) -> None:
    """Write everything (rows, vectors, kept pictures) to FILE, and read it back.

    The service may run meanwhile. Tables are read one after the other; what is deleted during that
    time is not in the backup.
    """
    with told_in_one_line():
        settings = read_settings()
        with running_servers(settings) as found, connected(found) as client, _progress() as told:
            contents = take_backup(client, found.mongo_database, file, told)
        click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB, {_sum(contents)}")


@click.command("restore")
@FILE
@click.option("--check", is_flag=True, help="Read all of FILE, and restore nothing.")
def restore_command(file: Path, check: bool) -> None:
    """Put the backup FILE into an empty database. The service must be stopped.

    An interrupted restore continues where it stopped when it is run again with the same FILE.
    """
    with told_in_one_line():
        if check:
            with _progress() as told:
                contents = check_backup(file, told)
            click.echo(f"{file} is whole: {_sum(contents)}")
            return
        with _progress() as told, open_archive(file) as archive:
            consistent = read_through(archive, told)
            settings = read_settings()
            configure_logging(settings)
            with (
                running_servers(settings, alone=True) as found,
                connected(found, connect_patiently) as client,
            ):
                schema = archive.manifest.schema
                require_room(client, found.mongo_database, schema, archive.checksum)
                _require_stopped(found)
                restore(
                    client,
                    found.mongo_database,
                    archive,
                    consistent,
                    schema=schema,
                    catalogue=archive.manifest.catalogue,
                    checksum=archive.checksum,
                    progress=told,
                )
        click.echo(f"restored: {_sum(consistent.contents)}; start the service")


def _sum(contents: Contents) -> str:
    left_out = (
        f"; {contents.left_out} images left out, which were deleted meanwhile"
        if contents.left_out
        else ""
    )
    return (
        f"{contents.collections} collections, {contents.products} products, "
        f"{contents.findable} images, {contents.under_way} images on their way, "
        f"{contents.tasks} tasks{left_out}"
    )


def _require_stopped(settings: Settings) -> None:
    """Raise click.ClickException if a worker consumed a queue lately.

    Passes if Redis can't be reached.
    """
    # Imported here, since no other step needs them.
    from broker.queues import QUEUES
    from broker.redis_connection import connect_redis
    from broker.reports.heartbeats import Consumption

    seconds = settings.redis_timeout_seconds
    url = settings.redis_url.get_secret_value()
    try:
        with connect_redis(url, seconds, seconds) as client:
            consumption = Consumption(client, settings.stalled_seconds)
            ages = consumption.ages(list(QUEUES))
    except RedisError:
        return
    busy = {name: age for name, age in ages.items() if not consumption.is_stalled(age)}
    if busy:
        name, age = min(busy.items(), key=lambda pair: pair[1] or 0)
        raise click.ClickException(
            f"queue {name} was consumed {age:.0f} s ago; stop every process of the service, and "
            f"try again {settings.stalled_seconds:.0f} s later"
        )


@contextmanager
def _progress() -> Iterator[Told]:
    """Yield a function that shows progress on a terminal, and does nothing elsewhere."""
    console = Console(stderr=True)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not sys.stderr.isatty(),
    ) as shown:
        lines = {}

        def told(table: str, done: int, total: int | None) -> None:
            if table not in lines:
                lines[table] = shown.add_task(table, total=total)
            shown.update(lines[table], completed=done, total=total)

        yield told
