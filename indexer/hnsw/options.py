"""What an index is built with. Knows nothing of where the values come from."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class IndexOptions:
    """The shape and the tuning of an index; every value is a positive integer."""

    dimensions: int
    """Numbers in a vector."""

    shard_capacity: int
    """Vectors in a shard, marked ones included, before the set opens a new one."""

    vectors_per_write: int = 8
    """Vectors added under one hold of a write lock; a search waits for that many at most."""

    m: int = 16
    """Links of a vector in the graph (M of the HNSW paper, arXiv:1603.09320)."""

    ef_construction: int = 200
    """Candidates weighed while a vector is linked in."""

    ef_floor: int = 100
    """Candidates weighed by a search, at least; it weighs twice its k where that is more."""

    exact_up_to: int = 2_000
    """A shard of so many vectors or fewer, marked ones included, is searched exactly."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be 1 or more")
