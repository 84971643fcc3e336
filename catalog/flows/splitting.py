"""Splitting a chunk: some of its images continue as chunks of their own.

The new chunks are written first, and then the caller moves the old one on without their images. In
between both have them, which is harmless, since every stage is idempotent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from catalog.rows.chunks import Chunk, Item, Stage, State
from catalog.store import Catalog


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Images of a chunk that are to be fetched again at the same time."""

    items: tuple[Item, ...]
    start: datetime
    passes: int  #: tries of the images by then
    reasons: Mapping[int, str]  #: by label, what clients are told
    put_off_at: datetime | None = None  #: when they were first put off for a host's sake


def split_off(catalog: Catalog, chunk: Chunk, starts: Mapping[Item, datetime], passes: int) -> None:
    """Write a chunk of one image for each item, which waits until its time in `starts`.

    Each begins with attempt 1, no unclean ends and `passes` fetch passes.
    """
    _write(
        catalog,
        chunk,
        [
            replace(
                chunk,
                id=f"{chunk.id}-{item.label}.{passes}",
                items=(item,),
                state=State.WAITING,
                passes=passes,
                due_at=start,
            )
            for item, start in starts.items()
        ],
    )


def wait_apart(catalog: Catalog, chunk: Chunk, waits: Iterable[Wait]) -> None:
    """Write a chunk for each of `waits`, whose images the chunk that runs goes on without."""
    _write(
        catalog,
        chunk,
        [
            replace(
                chunk,
                id=_part_id(chunk, wait.items),
                items=wait.items,
                state=State.WAITING,
                passes=wait.passes,
                waits=tuple(wait.reasons.items()),
                put_off_at=wait.put_off_at,
                due_at=wait.start,
            )
            for wait in waits
        ],
    )


def go_ahead(catalog: Catalog, chunk: Chunk, stage: Stage, items: tuple[Item, ...]) -> Chunk:
    """Write a chunk of `items` that the caller sends to `stage` now, ahead of the others."""
    part = replace(
        chunk, id=_part_id(chunk, items), items=items, stage=stage, waits=(), put_off_at=None
    )
    sent = catalog.chunks.as_sent(part)
    _write(catalog, chunk, [sent])
    return replace(sent, attempt=1)


def _part_id(chunk: Chunk, items: Sequence[Item]) -> str:
    """Return an id that no other part has: those of one attempt have no image in common."""
    return f"{chunk.id}-{items[0].label}.{chunk.passes}.{chunk.attempt}"


def _write(catalog: Catalog, chunk: Chunk, parts: Sequence[Chunk]) -> None:
    """Write parts of a chunk, each at its first attempt."""
    fresh = [replace(part, attempt=1, unclean=0) for part in parts]
    catalog.chunks.insert(
        [part if part.state is State.SENT else replace(part, sent_at=None) for part in fresh]
    )
    catalog.tasks.add_chunks(chunk.task_id, [part.id for part in parts])
