"""Splitting a chunk: some of its images go on by themselves, as chunks of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from catalog.rows.chunks import Chunk, Item, State
from catalog.store import Catalog


def split_off(catalog: Catalog, chunk: Chunk, starts: Mapping[Item, datetime], passes: int) -> None:
    """Write a chunk of one for each item, which waits until its time and counts for itself.

    The caller moves `chunk` on without these items afterwards; between the two both
    have them, which is harmless, since every stage may do its work twice.
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
