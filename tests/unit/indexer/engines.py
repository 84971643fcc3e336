"""The engines behind the port, each to be made anew by a test; mypy checks that they satisfy it."""

from __future__ import annotations

from collections.abc import Callable

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.key import SetKey
from indexer.memory import MemoryStore
from indexer.vector_store import VectorStore

DIMENSIONS = 32

#: Makes an empty store; the argument is whether all of its sets are known.
Engine = Callable[[bool], VectorStore]


def rows(is_complete: bool) -> VectorStore:
    """Return an index whose shards have no graph."""
    options = IndexOptions(DIMENSIONS, shard_capacity=50)
    return VectorIndex(options, is_complete=is_complete)


def graphs(is_complete: bool) -> VectorStore:
    """Return an index whose shards have a graph, asked for so much that it is exact."""
    options = IndexOptions(DIMENSIONS, shard_capacity=50, exact_up_to=1, ef_floor=400)
    return VectorIndex(options, is_complete=is_complete)


def memory(is_complete: bool) -> VectorStore:
    """Return the exact twin."""
    return MemoryStore(DIMENSIONS, is_complete=is_complete)


ENGINES: dict[str, Engine] = {"rows": rows, "graphs": graphs, "memory": memory}


def sizes(store: VectorStore) -> dict[SetKey, tuple[int, int, int]]:
    """Return the live images, the deleted ones and the shards of each set."""
    return {key: (one.live, one.deleted, one.shards) for key, one in store.state().items()}
