"""The sizes of the sets of a store, apart from the rest of their state."""

from __future__ import annotations

from indexer.key import SetKey
from indexer.vector_store import VectorStore


def sizes(store: VectorStore) -> dict[SetKey, tuple[int, int, int]]:
    """Return the live vectors, the deleted ones and the shards of each set."""
    return {key: (one.live, one.deleted, one.shards) for key, one in store.state().items()}
