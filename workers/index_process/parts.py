"""The parts of the index process, each made from the settings at its first use.

That is when the worker starts, before any thread of it takes a message.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from config.settings import settings
from indexer.keeper import Keeper, KeeperOptions
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.comparison import Comparison
from workers.index_process.health import HealthReporter, this_process
from workers.index_process.ownership import IndexOwnership
from workers.index_process.vector_engine import chosen_vector_engine
from workers.support.resources import catalog, index_reports


def index_directory() -> Path:
    """Return the directory that one index process at a time may use."""
    return settings().data_dir / "index"


@cache
def ownership() -> IndexOwnership:
    """Return the ownership of the index by this process."""
    chosen = settings()
    return IndexOwnership(
        catalog, this_process(), chosen.lease_seconds, chosen.lease_renewal_seconds
    )


@cache
def shards() -> CatalogIndex:
    """Return the index of this process."""
    chosen = settings()
    return CatalogIndex(
        catalog,
        chosen_vector_engine(index_directory() / "sets"),
        memory_bytes=chosen.index_memory_bytes,
        is_owner=lambda: ownership().trusted_epoch() is not None,
    )


@cache
def keeper() -> Keeper:
    """Return the thread that restores the sets, saves them and unloads idle ones."""
    chosen = settings()
    return Keeper(
        shards().restore,
        KeeperOptions(
            snapshot_seconds=chosen.snapshot_seconds,
            snapshot_changes=chosen.snapshot_changes,
            deleted_share=chosen.compaction_share,
            memory_bytes=chosen.index_memory_bytes,
        ),
        shards().keep_checkpoints,
    )


@cache
def comparison() -> Comparison:
    """Return the thread that compares the sets with the rows."""
    return Comparison(catalog, shards(), settings().compare_seconds)


@cache
def reporter() -> HealthReporter:
    """Return the thread that reports the health of the index."""
    return HealthReporter(
        shards().health,
        index_reports,
        stalled_seconds=settings().stalled_seconds,
        process=this_process(),
        epoch=ownership().trusted_epoch,
    )
