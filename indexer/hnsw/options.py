"""The parameters of an index."""

from __future__ import annotations

from dataclasses import dataclass, fields

from indexer.vectors import PARTS_LIMIT


@dataclass(frozen=True)
class IndexOptions:
    """The shape and the tuning of an index.

    Raises ValueError for a value below 1, and for more `parts` than there can be or a shard takes.
    """

    #: Numbers in a vector.
    dimensions: int

    #: The most vectors in a shard, marked ones included; then the set opens a new shard.
    shard_capacity: int

    #: The most vectors of an image.
    parts: int = 1

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
        if self.parts > min(PARTS_LIMIT, self.shard_capacity):
            raise ValueError(f"parts must be at most {PARTS_LIMIT}, and at most shard_capacity")

    @property
    def keys_per_label(self) -> int:
        """How many keys of hnswlib a label has, one for each part.

        One where an image has one vector: its key is its label, as in files of before.
        """
        return 1 if self.parts == 1 else PARTS_LIMIT
