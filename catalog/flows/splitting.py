"""Splitting a chunk: some of its images continue as chunks of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from catalog.rows.chunks import Chunk, Item, State
from catalog.store import Catalog


def split_off(catalog: Catalog, chunk: Chunk, starts: Mapping[Item, datetime], passes: int) -> None:
    """Write a chunk of one image for each item, which waits until its time in `starts`.

    Each begins with attempt 1, no unclean ends and `passes` fetch passes. The caller then moves
    `chunk` on without these items. In between both have them, which is harmless, since every
    stage is idempotent.
    """
    singles = [
        replace(
            chunk,
            id=f"{chunk.id}-{item.label}.{passes}",
            items=(item,),
            state=State.WAITING,
            attempt=1,
            unclean=0,
            passes=passes,
            sent_at=None,
            due_at=start,
        )
        for item, start in starts.items()
    ]
    catalog.chunks.insert(singles)
    catalog.tasks.add_chunks(chunk.task_id, [single.id for single in singles])
