"""The parameters of an index."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class IndexOptions:
    """The shape and the tuning of an index; every value must be 1 or more, else ValueError."""

    #: Numbers in a vector.
    dimensions: int

    #: The most vectors in a shard, marked ones included; then the set opens a new shard.
    shard_capacity: int

    #: Vectors added while a write lock is held; a search waits for that many at most.
    vectors_per_write: int = 8

    #: Links of a vector in the graph (M of the HNSW paper, arXiv:1603.09320).
    m: int = 16

    #: Candidates considered when a vector is added (efConstruction of the paper).
    ef_construction: int = 200

    #: The least candidates considered by a search (ef); twice its k if that is more.
    ef_floor: int = 100

    #: A shard of so many vectors or fewer, marked ones included, is searched exactly.
    exact_up_to: int = 2_000

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be 1 or more")
