"""Every hostile URL and server ends in its code within its deadline, and reaches nothing inside.

Each row goes through as many passes as the fetch stage makes, and through the function by
which that stage decides what the client reads. All rows run at once, in threads.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contract.errors import BrokenBase64OrUrl, ContractError, ImageSizeExceedLimit
from download.batch import FetchOutcome
from download.client import TransientFetchError, fetch
from tests.integration.download.hostile_servers import OVERSIZED, SERVERS
from tests.integration.download.hostile_urls import URLS
from tests.integration.download.hostile_world import PUBLIC, Hostile, World
from workers.support.tries import final_fault

ROWS = {**URLS, **SERVERS}
#: Beyond the deadline, for the threads of all rows share the processors: more than ten times what
#: is meant. Without its deadline a row goes on until the policy's 15 s or the server's end.
GRACE_SECONDS = 10.0


@dataclass
class Ending:
    """What became of a row."""

    faults: list[type[ContractError]] = field(default_factory=list)
    outcomes: list[FetchOutcome] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)
    #: Addresses and ports that the client tried to connect to, the public one left out.
    tried: list[Any] = field(default_factory=list)
    accepted: int = 0
    longest: float = 0.0


_dialled: ContextVar[list[Any] | None] = ContextVar("_dialled", default=None)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and (dialled := _dialled.get()) is not None:
        dialled.append(arguments[1][:2])


sys.addaudithook(_hook)


def _run(row: Hostile, certificate: Path) -> Ending:
    ending = Ending()
    with World(row, certificate) as world:
        dialled: list[Any] = []
        _dialled.set(dialled)
        passes = 0
        while not ending.faults:
            begin = time.monotonic()
            outcome: FetchOutcome
            try:
                outcome = fetch(
                    world.fill(row.url), world.policy(), begin + row.deadline, world.resolver
                )
            except (BrokenBase64OrUrl, ImageSizeExceedLimit, TransientFetchError) as error:
                outcome = error
            ending.longest = max(ending.longest, time.monotonic() - begin - row.deadline)
            ending.outcomes.append(outcome)
            if isinstance(outcome, bytes):
                break
            fault = final_fault(outcome, passes)
            ending.faults += [] if fault is None else [type(fault)]
            passes += 1
    ending.tried = [place for place in dialled if place != (PUBLIC, world.port)]
    ending.reached, ending.accepted = world.reached, world.accepted
    return ending


@pytest.fixture(scope="module")
def endings(certificate: Path) -> Iterator[dict[str, Future[Ending]]]:
    """Run all rows at once; return what becomes of each."""
    with ThreadPoolExecutor(24) as pool:
        yield {
            title: pool.submit(copy_context().run, _run, row, certificate)
            for title, row in {**ROWS, **OVERSIZED}.items()
        }


def _nothing_inside(ending: Ending) -> None:
    assert ending.reached == []
    assert ending.tried == []
    assert ending.longest < GRACE_SECONDS


@pytest.mark.parametrize("title", ROWS)
def test_a_hostile_row_ends_in_2006_in_time_and_reaches_nothing(
    endings: dict[str, Future[Ending]], title: str
) -> None:
    ending = endings[title].result()
    _nothing_inside(ending)
    assert ending.faults == [BrokenBase64OrUrl], ending.outcomes
    assert (ending.accepted > 0) == (ROWS[title].talk is not None)


@pytest.mark.parametrize("title", OVERSIZED)
def test_a_body_that_is_only_too_large_ends_in_3056_in_time(
    endings: dict[str, Future[Ending]], title: str
) -> None:
    ending = endings[title].result()
    _nothing_inside(ending)
    assert ending.faults == [ImageSizeExceedLimit], ending.outcomes


def test_the_codes_are_those_of_the_contract() -> None:
    assert (BrokenBase64OrUrl.code, ImageSizeExceedLimit.code) == (2006, 3056)


def test_the_table_has_its_rows_and_none_was_reached(
    endings: dict[str, Future[Ending]],
) -> None:
    """With -s it prints the figures of docs/security.md."""
    found = {title: future.result() for title, future in endings.items()}
    reached = [title for title, ending in found.items() if ending.reached or ending.tried]
    late = max(ending.longest for ending in found.values())
    passes = sum(len(ending.outcomes) for ending in found.values())
    print(f"\n{len(ROWS)} rows end in 2006 and {len(OVERSIZED)} in 3056; reached: {len(reached)};")
    print(f"{passes} passes, the latest {late:+.2f} s from its deadline")
    assert len(ROWS) >= 80
    assert reached == []
