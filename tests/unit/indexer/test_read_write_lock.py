from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from indexer.lock import ReadWriteLock

PATIENCE = 60.0  # seconds


def start(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def write(lock: ReadWriteLock, name: str, order: list[str]) -> None:
    with lock.writing():
        order.append(name)


def read(lock: ReadWriteLock, name: str, order: list[str]) -> None:
    with lock.reading():
        order.append(name)


def test_readers_are_in_together() -> None:
    lock = ReadWriteLock()
    together = threading.Barrier(3, timeout=PATIENCE)
    met: list[int] = []

    def reader() -> None:
        with lock.reading():
            together.wait()
            met.append(1)

    for thread in [start(reader) for _ in range(3)]:
        thread.join(PATIENCE)
    assert len(met) == 3


def test_a_writer_is_alone() -> None:
    lock = ReadWriteLock()
    inside = {"readers": 0, "writers": 0}
    counting = threading.Lock()
    wrong: list[dict[str, int]] = []

    def enter(kind: str) -> None:
        for _ in range(200):
            with lock.writing() if kind == "writers" else lock.reading():
                with counting:
                    inside[kind] += 1
                    if inside["writers"] > 1 or (inside["writers"] and inside["readers"]):
                        wrong.append(dict(inside))
                time.sleep(0)
                with counting:
                    inside[kind] -= 1

    threads = [start(partial(enter, kind)) for kind in ("readers", "writers") * 3]
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_a_waiting_writer_goes_before_a_later_reader() -> None:
    lock = ReadWriteLock()
    order: list[str] = []
    with lock.reading():
        writer = start(lambda: write(lock, "writer", order))
        wait_until(lambda: lock._next_ticket == 1)
        reader = start(lambda: read(lock, "reader", order))
        wait_until(lambda: lock._waiting_readers == 1)
        assert order == []
    writer.join(PATIENCE)
    reader.join(PATIENCE)
    assert order == ["writer", "reader"]


def test_a_waiting_reader_goes_before_the_second_writer_and_writers_keep_their_order() -> None:
    lock = ReadWriteLock()
    order: list[str] = []
    threads = []

    def has_queued(number: int) -> bool:
        return lock._next_ticket == number + 1

    with lock.writing():
        for number in range(1, 4):
            name = f"writer {number}"
            threads.append(start(partial(write, lock, name, order)))
            wait_until(partial(has_queued, number))
        threads.append(start(lambda: read(lock, "reader", order)))
        wait_until(lambda: lock._waiting_readers == 1)
    for thread in threads:
        thread.join(PATIENCE)
    assert order == ["reader", "writer 1", "writer 2", "writer 3"]


@pytest.mark.parametrize("kind", ["reading", "writing"])
def test_an_error_inside_gives_the_lock_free(kind: str) -> None:
    lock = ReadWriteLock()
    with pytest.raises(KeyError), getattr(lock, kind)():
        raise KeyError
    order: list[str] = []
    start(lambda: write(lock, "next", order)).join(PATIENCE)
    assert order == ["next"]
