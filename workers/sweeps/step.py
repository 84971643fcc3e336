"""Steps of the background work: each goes on until nothing is due or its time is up.

The steps of a sweep alternate in slices of time, so that one with much to do does not starve the
others. A process handles rows of a step only while it holds the step's turn, so that two processes
share the steps; a step with nothing due costs one query and no turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import structlog
from pymongo.errors import PyMongoError

from broker.availability import UNREACHABLE, BrokerUnreachableError
from catalog.coordination.turns import TURN
from catalog.database.renewal import Renewal
from catalog.rows.row_clock import Look
from workers.support.resources import catalog
from workers.sweeps.clock_check import look_at_clock

log = structlog.get_logger(__name__)

#: Seconds that a step goes on before the next one has its slice.
SLICE_SECONDS = 0.5

#: Rows that are read at a time.
ROWS = 500

T = TypeVar("T")


class Round:
    """One slice of each step; all of them judge rows by one look at the clock."""

    @cached_property
    def look(self) -> Look:
        """The look at the clock, taken by the first step that needs it."""
        return look_at_clock()


@dataclass
class Share:
    """The time that a step has, and the rows that it has seen in this sweep."""

    step: str
    round: Round = field(default_factory=Round)
    until: float = float("inf")  #: in seconds of time.monotonic()
    seen: set[Hashable] = field(default_factory=set)
    is_cut_short: bool = False  #: there is more to do than there was time for
    is_overtaken: bool = False  #: another process has the turn

    def goes_on(self) -> bool:
        """Return whether there is time for more; if not, note that the step was cut short."""
        if time.monotonic() < self.until and not self.is_overtaken:
            return True
        self.is_cut_short = True
        return False

    def go_through(
        self,
        read: Callable[[int], Sequence[T]],
        key: Callable[[T], Hashable],
        handle: Callable[[Sequence[T]], None],
        at_once: int = 1,
        put_off: Callable[[T], object] | None = None,
    ) -> None:
        """Handle due rows, `at_once` of them in one call, until there are none or time is up.

        `read` returns at most as many due rows as it is told. A row that is still due after it was
        handled, or whose handling failed, is skipped until the next sweep. One that failed is also
        put off, so that many of them take no time from the rows behind them in sweep after sweep.
        Nothing is handled while another process has the turn of this step. Raises the error if
        MongoDB or Redis can't be reached.
        """
        passed_over = 0
        has_turn = False
        with ExitStack() as stack:
            while True:
                limit = max(ROWS, at_once) + passed_over
                rows = read(limit)
                fresh = [row for row in rows if key(row) not in self.seen]
                passed_over = len(rows) - len(fresh)
                if not fresh and len(rows) < limit:
                    return
                if not has_turn:
                    has_turn = stack.enter_context(turn(self.step, self))
                    if not has_turn:
                        return
                    # Read again: another process may have handled these rows before.
                    continue
                for start in range(0, len(fresh), at_once):
                    piece = fresh[start : start + at_once]
                    self.seen.update(key(row) for row in piece)
                    self._handle(piece, key, handle, put_off)
                    if not self.goes_on():
                        return

    def _handle(
        self,
        rows: Sequence[T],
        key: Callable[[T], Hashable],
        handle: Callable[[Sequence[T]], None],
        put_off: Callable[[T], object] | None,
    ) -> None:
        try:
            handle(rows)
        except UNREACHABLE:
            # This ends the step for now: the next rows would fail as well.
            raise
        except Exception:
            if len(rows) == 1:
                log.exception("a row could not be handled", row=key(rows[0]))
                if put_off is not None:
                    put_off(rows[0])
                return
            for row in rows:
                self._handle([row], key, handle, put_off)


@dataclass(frozen=True)
class Step:
    """A step of a sweep."""

    name: str
    work: Callable[[Share], None]


def take_steps(steps: Sequence[Step], seconds: float) -> None:
    """Run every step for a slice of time, and those with more to do again until `seconds` are over.

    A step that fails is logged and does not keep the others from their slices.
    """
    over = time.monotonic() + seconds
    shares = {step: Share(step.name) for step in steps}
    left = list(steps)
    while left:
        this = Round()
        left = [step for step in left if _has_more(step, shares[step], this, over)]


def _has_more(step: Step, share: Share, this: Round, over: float) -> bool:
    share.is_cut_short = share.is_overtaken = False
    share.round, share.until = this, time.monotonic() + SLICE_SECONDS
    try:
        step.work(share)
    except BrokerUnreachableError:
        return False  # logged where it was raised
    except Exception:
        log.exception("a step of the sweep failed", step=step.name)
        return False
    return share.is_cut_short and not share.is_overtaken and time.monotonic() < over


@contextmanager
def turn(name: str, share: Share) -> Iterator[bool]:
    """Take a turn and renew it while the context lasts; yield False if another process has it.

    From a thread of its own: counting a large collection takes longer than a turn.
    """
    turns = catalog().turns
    holder = turns.take(name)
    if holder is None:
        yield False
        return

    def renew() -> bool:
        share.is_overtaken = not turns.renew(name, holder)
        return not share.is_overtaken

    def tell(error: PyMongoError) -> None:
        log.warning("turn not renewed", step=name, fault=str(error))

    try:
        with Renewal(f"turn {name}", TURN.total_seconds() / 4, renew, tell):
            yield True
    finally:
        turns.give_back(name, holder)
