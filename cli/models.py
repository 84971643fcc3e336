"""`snapsku models`: which models the collections use, and changes from one to another. Prints JSON.

The work of a change is done by the workers; what stands here writes and reads rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from catalog.rows.changes import Change, ChangeState
from catalog.rows.collections import CollectionRow
from catalog.rows.models import ModelRow
from catalog.store import Catalog
from cli.faults import told_in_one_line
from cli.servers import opened_catalog

#: Chunks of a change that are counted as under way; there are fewer.
CHUNKS = 1000

ONE = click.argument("collection", required=False)
ALL = click.option("--all", "of_all", is_flag=True, help="Of every collection, new ones too.")


@contextmanager
def _catalog() -> Iterator[Catalog]:
    """Open the catalogue, started for this time if need be; a fault is one line."""
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
    """Look at the models of the collections, and change them."""


@models_command.command()
@click.argument("collection", required=False)
def status(collection: str | None) -> None:
    """Say which models are in use, and how far changes are; of COLLECTION (USER/NAME) alone."""
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
    chunks = catalog.chunks.of_change(change.generation, CHUNKS)
    labels = {label for chunk in chunks for label in chunk.labels}
    losses = catalog.losses.of_generation(change.generation, change.target)
    embedded = catalog.vectors.present([loss.label for loss in losses], [change.target])
    return {
        "collection": change.collection,
        "from": change.source,
        "to": change.target,
        "state": change.state.value,
        "images": change.image_count,
        "looked_at": change.seen,
        "under_way": len(labels),
        "lost": len(losses) - len(embedded),
        "accepts_losses": change.accepts_losses,
        "begun_at": change.begun_at.isoformat(),
    }


@models_command.command()
@ONE
@ALL
@click.option("--to", "to", help="Id of a model that the workers have loaded; else the next one.")
@click.option("--accept-losses", is_flag=True, help="Switch though some images get lost.")
def change(collection: str | None, of_all: bool, to: str | None, accept_losses: bool) -> None:
    """Embed the images of COLLECTION (USER/NAME) by the next model, and switch to it.

    That goes on in the background; a second time it changes nothing, but for a change that
    waits: that tries again what could not be embedded, or accepts that it is lost.
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
    following = catalog.models.next()
    if following is None:
        raise click.ClickException(
            "no worker has loaded a next model; set SNAPSKU_NEXT_DETECTOR or "
            "SNAPSKU_NEXT_EMBEDDER, and start the vision and the search workers anew"
        )
    return following


def _begin(catalog: Catalog, row: CollectionRow, target: str, accept_losses: bool) -> str:
    found = catalog.changes.find(row.key, row.generation)
    if found is None:
        if row.model_id is None:
            return "has no model yet; start a vision worker"
        if row.model_id == target:
            return "uses this model already"
        # Of a change that was given up.
        catalog.losses.forget(row.generation)
        begun = catalog.changes.begin(row.key, row.model_id, target, accept_losses=accept_losses)
        return "begun" if begun else "was changed meanwhile; try again"
    if found.target != target or found.state in (ChangeState.SWITCHED, ChangeState.CANCELLED):
        return f"a change from {found.source} to {found.target} is not over ({found.state.value})"
    if found.state is ChangeState.RUNNING and found.accepts_losses >= accept_losses:
        return "is under way"
    if not accept_losses:
        catalog.losses.forget(row.generation)
    gone_on = catalog.changes.go_on(found, accept_losses=accept_losses)
    return "goes on" if gone_on else "was changed meanwhile; try again"


@models_command.command()
@ONE
@ALL
def cancel(collection: str | None, of_all: bool) -> None:
    """Let COLLECTION (USER/NAME) stay with its model, and remove what was made of the next."""
    with _catalog() as catalog:
        rows = _chosen(catalog, collection, of_all)
        _say({row.key: _cancel(catalog, row) for row in rows})


def _cancel(catalog: Catalog, row: CollectionRow) -> str:
    found = catalog.changes.find(row.key, row.generation)
    if found is None:
        return "no change is under way"
    if found.state is ChangeState.CANCELLED:
        return "is cancelled"
    if found.state is ChangeState.SWITCHED or not catalog.changes.cancel(found):
        return "has switched already; change it back with --to"
    current = catalog.models.current()
    source = catalog.models.known().get(found.source)
    if current is not None and source is not None and current.model_id == found.target:
        catalog.models.begin_with(source)
    return "cancelled"


@models_command.command()
@click.argument("collection")
def lost(collection: str) -> None:
    """Name the images of COLLECTION (USER/NAME) that the next model could not embed, and why."""
    with _catalog() as catalog:
        (row,) = _chosen(catalog, collection, of_all=False)
        model_id = row.next_model or row.model_id or ""
        losses = catalog.losses.of_generation(row.generation, model_id)
        images = catalog.images.find([loss.label for loss in losses])
        embedded = catalog.vectors.present(list(images), [model_id])
        _say(
            [
                {
                    "product_id": images[loss.label].product_id,
                    "image_id": images[loss.label].image_id,
                    "reason": loss.reason,
                }
                for loss in losses
                if loss.label in images
                and images[loss.label].is_findable
                and loss.label not in embedded
            ]
        )
