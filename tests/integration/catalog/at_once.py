"""Threads that start at the same moment, so that a race has its chance."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

SECONDS = 30.0


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Return what `work(0)` to `work(count - 1)` return, begun together; raise what one raises."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait(SECONDS)
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        futures = [threads.submit(run, number) for number in range(count)]
        return [future.result(SECONDS) for future in futures]
