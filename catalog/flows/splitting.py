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
    parts = [
        replace(
            _part(chunk, (item,)),
            id=f"{chunk.id}-{item.label}.{passes}",
            passes=passes,
            due_at=start,
        )
        for item, start in starts.items()
    ]
    _write(catalog, parts)


def wait_apart(catalog: Catalog, chunk: Chunk, waits: Iterable[Wait]) -> None:
    """Write a chunk for each of `waits`, whose images the chunk that runs goes on without."""
    parts = [
        replace(
            _part(chunk, wait.items),
            passes=wait.passes,
            waits=tuple(wait.reasons.items()),
            put_off_at=wait.put_off_at,
            due_at=wait.start,
        )
        for wait in waits
    ]
    _write(catalog, parts)


def go_ahead(catalog: Catalog, chunk: Chunk, stage: Stage, items: tuple[Item, ...]) -> Chunk:
    """Write a chunk of `items` that the caller sends to `stage` now, ahead of the others."""
    part = replace(_part(chunk, items), stage=stage, waits=(), put_off_at=None)
    sent = catalog.chunks.as_sent(part)
    _write(catalog, [sent])
    return sent


def _part(chunk: Chunk, items: tuple[Item, ...]) -> Chunk:
    """Return a chunk of some images of a running one, at its first attempt.

    No other part has its id: those of one attempt have no image in common.
    """
    return replace(
        chunk,
        id=f"{chunk.id}-{items[0].label}.{chunk.passes}.{chunk.attempt}",
        items=items,
        state=State.WAITING,
        attempt=1,
        unclean=0,
        sent_at=None,
    )


def _write(catalog: Catalog, parts: Sequence[Chunk]) -> None:
    if parts:
        catalog.chunks.insert(parts)
        catalog.tasks.add_chunks(parts[0].task_id, [part.id for part in parts])
