"""The lease by which this process owns the index: waiting for it, renewing it, losing it.

There are two guards. The lock on the folder keeps a second process from the files. The lease in
MongoDB keeps a process on another folder, or another machine, from working on the same rows: it
waits, as a standby.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import structlog
from pymongo.errors import PyMongoError

from catalog.coordination.index_ownership import NotOwnerError, Owner
from catalog.database.renewal import Renewal
from catalog.store import Catalog
from config.steady_clock import steady_seconds
from indexer.directory_ownership import DirectoryOwnership

#: Seconds between two looks of a standby at the lease; fewer if leases are short.
LOOK_SECONDS = 2.0

#: Share of a lease after which its owner no longer relies on it. The rest is for hosts that measure
#: time a little differently.
TRUSTED_SHARE = 0.9

#: Seconds that a release waits for a renewal that is under way.
RELEASE_SECONDS = 2.0

log = structlog.get_logger(__name__)


def end_this_process() -> None:
    """Stop this worker by SIGTERM; its supervisor starts it again."""
    os.kill(os.getpid(), signal.SIGTERM)


class IndexOwnership:
    """The ownership of this process, from `wait_for_lease` to `release` or to its loss."""

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        process: str,
        lease_seconds: float,
        renewal_seconds: float,
        on_loss: Callable[[], None] = end_this_process,
    ) -> None:
        """Take `process` as the name to be shown to operators.

        `on_loss` is called once, from any thread, when the lease is lost.
        """
        self._catalog = catalog
        self._process = process
        self._lease_seconds = lease_seconds
        self._renewal_seconds = renewal_seconds
        self._on_loss = on_loss
        self._changing = threading.Lock()
        self._owner: Owner | None = None
        self._deadline = float("-inf")
        self._stopping = threading.Event()
        self._renewal = Renewal("index ownership", renewal_seconds, self._renew, _tell)

    @property
    def epoch(self) -> int:
        """The epoch of this owner, as far as it knows. Raises NotOwnerError."""
        owner = self._owner
        if owner is None:
            raise NotOwnerError
        return owner.epoch

    def trusted_epoch(self) -> int | None:
        """Return the epoch while no other process can own the index; asks no database.

        None as soon as the lease may have ended; a later renewal may bring it back.
        """
        owner = self._owner
        return None if owner is None or steady_seconds() >= self._deadline else owner.epoch

    def check(self) -> int:
        """Check in the database that this process owns the index, and return its epoch.

        Raises NotOwnerError if it does not, PyMongoError.
        """
        epoch = self.epoch
        found = self._catalog().ownership.current()
        if found is None or found.epoch != epoch:
            self._lose(found)
            raise NotOwnerError
        return epoch

    def wait_for_lease(
        self, directory: DirectoryOwnership, standing_by: Callable[[Owner], None]
    ) -> None:
        """Wait until this process owns the index, and renew its lease from then on.

        `standing_by` is called at every look that finds another owner. SIGTERM and SIGINT end the
        process at once meanwhile, so this must run in the main thread.
        """
        with _ended_by_signals():
            self._wait_for_lease(directory, standing_by)
        self._renewal.start()

    def _wait_for_lease(
        self, directory: DirectoryOwnership, standing_by: Callable[[Owner], None]
    ) -> None:
        pause = min(LOOK_SECONDS, self._renewal_seconds)
        seen: Owner | None = None
        seen_at = 0.0
        while True:
            try:
                is_silent = steady_seconds() - seen_at > self._lease_seconds
                if self.take(directory, seen if is_silent else None, by_clock=seen is None):
                    return
                held = self._catalog().ownership.current()
            except PyMongoError as error:
                log.warning("owner of the index not known, database asked again", fault=str(error))
                # The owner could not renew its lease either, so its silence is counted from now.
                seen_at = steady_seconds()
                self._stopping.wait(pause)
                continue
            if held is not None:
                if seen is None or held.epoch != seen.epoch:
                    log.info("index is owned, standing by", owner=held.process, epoch=held.epoch)
                if held != seen:
                    seen, seen_at = held, steady_seconds()
                standing_by(held)
            self._stopping.wait(pause)

    def take(
        self, directory: DirectoryOwnership, silent: Owner | None = None, *, by_clock: bool = True
    ) -> bool:
        """Take the lease if it is free, and return whether it was taken. Raises PyMongoError.

        The options are those of `catalog.coordination.index_ownership.Ownership.take`. Once the new
        owner is written, no other owner stamps rows. So all rows that former owners stamped get the
        new epoch here, and their late writes have no effect.
        """
        began = steady_seconds()
        ownership = self._catalog().ownership
        taken = ownership.take(
            self._process,
            str(directory.directory),
            directory.lock,
            silent=silent,
            by_clock=by_clock,
        )
        if taken is None:
            return False
        self._catalog().images.take_over(taken.epoch)
        self._catalog().changes.take_over(taken.epoch)
        self._owner, self._deadline = taken, began + TRUSTED_SHARE * self._lease_seconds
        log.info("index is owned by this process", epoch=taken.epoch, silent=silent is not None)
        return True

    def release(self) -> None:
        """Release the lease, so that another process can take it at once.

        For a process that has stopped working. A fault of the database is logged; the lease expires
        then.
        """
        self._stopping.set()
        self._renewal.stop(RELEASE_SECONDS)
        with self._changing:
            owner, self._owner = self._owner, None
        if owner is None:
            return
        try:
            self._catalog().ownership.release(owner)
        except PyMongoError as error:
            log.warning("lease of the index not released, it runs out", fault=str(error))

    def _renew(self) -> bool:
        owner, began = self._owner, steady_seconds()
        if owner is None:
            return False
        renewed = self._catalog().ownership.renew(owner)
        if renewed is None:
            self._lose(self._catalog().ownership.current())
            return False
        with self._changing:
            if self._owner is owner:
                self._owner = renewed
                self._deadline = began + TRUSTED_SHARE * self._lease_seconds
        return True

    def _lose(self, found: Owner | None) -> None:
        with self._changing:
            owner, self._owner = self._owner, None
        if owner is not None:
            log.critical(
                "index has another owner, worker stops",
                owner="" if found is None else found.process,
                epoch=owner.epoch,
                epoch_of_owner=None if found is None else found.epoch,
            )
            self._on_loss()


def _tell(error: PyMongoError) -> None:
    log.warning("lease of the index not renewed", fault=str(error))


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End this process at SIGTERM and SIGINT, even if it is the first of a container."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        log.info("standby stops", signal=signal.Signals(number).name)
        raise SystemExit(0)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
