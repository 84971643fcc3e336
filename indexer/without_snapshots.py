"""The part of the port that is the same for every engine that keeps no snapshots itself."""

from __future__ import annotations

from indexer.key import SetKey


class WithoutSnapshots:
    """The methods of `VectorStore` about snapshots, of a store that has none.

    There is nothing to save, to lose or to unload, and no checkpoint: the next process compares
    every set with the rows.
    """

    @property
    def checkpoint(self) -> None:
        """The time until which snapshots have every change: unknown."""

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether snapshots were saved since the last checkpoint: there is none."""
        return True

    @property
    def lost_generations(self) -> frozenset[str]:
        """The generations of which a snapshot was lost: none."""
        return frozenset()

    def whole(self) -> list[SetKey]:
        """Return the keys of the sets that were ready when they were last saved: none."""
        return []

    def unsaved(self) -> dict[SetKey, int]:
        """Return the count of changes of each set that is to be saved: none."""
        return {}

    def unsaved_seconds(self) -> float:
        """Return the age of the oldest change that is to be saved: 0."""
        return 0.0

    def save(self, key: SetKey, seconds: float = 0.0) -> bool:  # noqa: ARG002 - the port's
        """Return True, since there is nothing to save."""
        return True

    def not_saved(self) -> dict[SetKey, str]:
        """Return the sets whose last save failed: none."""
        return {}

    def lost_within(self, seconds: float) -> int:  # noqa: ARG002 - the port's
        """Return how many snapshots were found unusable: none."""
        return 0

    def keep_checkpoint(self, until: int) -> None:
        """Write no checkpoint."""

    def remove_checkpoint(self) -> None:
        """Remove no checkpoint."""

    def unload_beyond(self, memory_bytes: int, idle_seconds: float) -> int:  # noqa: ARG002 - the port's
        """Return 0, since an unloaded set could not be loaded again."""
        return 0
