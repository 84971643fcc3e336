"""`snapsku models`: which models the collections use, and changes from one to another. Prints JSON.

The rules of a change are in catalog.flows.model_change; the workers do its work.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from catalog.flows.model_change import (
    BeginAnswer,
    CancelAnswer,
    begin_change,
    cancel_change,
    lost_images,
    progress_of,
)
from catalog.rows.changes import Change
from catalog.rows.collections import CollectionRow
from catalog.rows.models import ModelRow
from catalog.store import Catalog
from cli.faults import told_in_one_line
from cli.servers import opened_catalog

BEGUN = {
    BeginAnswer.BEGUN: "begun",
    BeginAnswer.GOES_ON: "goes on",
    BeginAnswer.UNDER_WAY: "is under way",
    BeginAnswer.HAS_NO_MODEL: "has no model yet; start a vision worker",
    BeginAnswer.HAS_THIS_MODEL: "uses this model already",
    BeginAnswer.CHANGED_MEANWHILE: "was changed meanwhile; try again",
}
CANCELLED = {
    CancelAnswer.CANCELLED: "cancelled",
    CancelAnswer.WAS_CANCELLED: "is cancelled",
    CancelAnswer.NO_CHANGE: "no change is under way",
    CancelAnswer.HAS_SWITCHED: "has switched already; change it back with --to",
}

ONE = click.argument("collection", required=False)
ALL = click.option("--all", "of_all", is_flag=True, help="Of every collection, new ones too.")


@contextmanager
def _catalog() -> Iterator[Catalog]:
    """Open the catalogue, with servers started if none run; a fault is told in one line."""
    with told_in_one_line(), opened_catalog() as (_, catalog):
        yield catalog


def _chosen(catalog: Catalog, collection: str | None, of_all: bool) -> list[CollectionRow]:
    if (collection is None) is not of_all:
        raise click.UsageError("name one collection as USER/NAME, or say --all")
    if collection is None:
        return catalog.collections.all()
    user, _, name = collection.partition("/")
    found = catalog.collections.find(user, name)
    if found is None:
        raise click.ClickException(f"no collection {collection}; it is named as USER/NAME")
    return [found]


def _say(found: Any) -> None:
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))


@click.group("models")
def models_command() -> None:
    """Show the models of the collections, and change them."""


@models_command.command()
@click.argument("collection", required=False)
def status(collection: str | None) -> None:
    """Show which models are in use, and how far changes are; of COLLECTION (USER/NAME) alone."""
    with _catalog() as catalog:
        rows = _chosen(catalog, collection, of_all=collection is None)
        current, following = catalog.models.current(), catalog.models.next()
        changes = (catalog.changes.find(row.key, row.generation) for row in rows)
        _say(
            {
                "model_of_new_collections": None if current is None else current.model_id,
                "next_model": None if following is None else following.model_id,
                "known_models": sorted(catalog.models.known()),
                "collections_by_model": Counter(str(row.model_id) for row in rows),
                "changes": [_told(catalog, change) for change in changes if change is not None],
            }
        )


def _told(catalog: Catalog, change: Change) -> dict[str, Any]:
    progress = progress_of(catalog, change)
    return {
        "collection": change.collection,
        "from": change.source,
        "to": change.target,
        "state": change.state.value,
        "images": change.image_count,
        "looked_at": change.seen,
        "under_way": progress.under_way,
        "lost": progress.lost,
        "accepts_losses": change.accepts_losses,
        "begun_at": change.begun_at.isoformat(),
    }


@models_command.command()
@ONE
@ALL
@click.option(
    "--to",
    "to",
    help="Id of a model that the workers have loaded; else the next one, "
    "without one that of new collections.",
)
@click.option("--accept-losses", is_flag=True, help="Switch though some images get lost.")
def change(collection: str | None, of_all: bool, to: str | None, accept_losses: bool) -> None:
    """Embed the images of COLLECTION (USER/NAME) by another model, and switch to it.

    This goes on in the background. Repeating the command does nothing, unless the change waits:
    then what could not be embedded is tried again, or accepted as lost.
    """
    with _catalog() as catalog:
        target = _target(catalog, to)
        rows = _chosen(catalog, collection, of_all)
        if of_all:
            # First, so that a collection that is made meanwhile needs no change.
            catalog.models.begin_with(target)
            rows = _chosen(catalog, collection, of_all)
        _say({row.key: _begin(catalog, row, target.model_id, accept_losses) for row in rows})


def _target(catalog: Catalog, to: str | None) -> ModelRow:
    if to is not None:
        known = catalog.models.known().get(to)
        if known is None:
            raise click.ClickException(
                f"no worker ever loaded model {to}; `snapsku models status` names them"
            )
        return known
    following, current = catalog.models.next(), catalog.models.current()
    if following is None and current is not None and catalog.models.in_use() - {current.model_id}:
        # Of the same networks, as SNAPSKU_BOXES_INDEXED says.
        return current
    if following is None:
        raise click.ClickException(
            "no worker has loaded a next model; set SNAPSKU_NEXT_DETECTOR or "
            "SNAPSKU_NEXT_EMBEDDER, and start the vision and the search workers anew"
        )
    return following


def _begin(catalog: Catalog, row: CollectionRow, target: str, accept_losses: bool) -> str:
    answer = begin_change(catalog, row, target, accept_losses=accept_losses)
    if answer is not BeginAnswer.OTHER_CHANGE:
        return BEGUN[answer]
    found = catalog.changes.find(row.key, row.generation)
    if found is None:
        return BEGUN[BeginAnswer.CHANGED_MEANWHILE]
    return f"a change from {found.source} to {found.target} is not over ({found.state.value})"


@models_command.command()
@ONE
@ALL
def cancel(collection: str | None, of_all: bool) -> None:
    """Keep COLLECTION (USER/NAME) on its model, and remove what the next one made."""
    with _catalog() as catalog:
        rows = _chosen(catalog, collection, of_all)
        _say({row.key: CANCELLED[cancel_change(catalog, row)] for row in rows})


@models_command.command()
@click.argument("collection")
def lost(collection: str) -> None:
    """List the images of COLLECTION (USER/NAME) that the next model could not embed, and why."""
    with _catalog() as catalog:
        (row,) = _chosen(catalog, collection, of_all=False)
        _say([asdict(image) for image in lost_images(catalog, row)])
