"""A fair read-write lock for threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """A lock for many readers or one writer, where neither side can starve the other.

    Writers get the lock in the order of their arrival. A reader that arrives while a writer works
    or waits gets it together with all other waiting readers after that first writer, before the
    next one: it waits for one writer at most. A writer waits for the present readers, and for the
    writers and the batches of readers before it, never for readers that arrive later.

    Not reentrant: a thread that holds it and asks again deadlocks.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._waiting_readers = 0
        self._next_ticket = 0
        self._finished_writers = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the lock as a reader, together with others."""
        with self._changed:
            if self._next_ticket == self._finished_writers:
                self._readers += 1
            else:
                # The writer that finishes next adds the waiting readers to those that hold the
                # lock, so that no other writer gets it before they wake.
                self._waiting_readers += 1
                arrival = self._finished_writers
                self._changed.wait_for(lambda: self._finished_writers > arrival)
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                if self._readers == 0:
                    self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock as the only thread."""
        with self._changed:
            ticket = self._next_ticket
            self._next_ticket += 1
            self._changed.wait_for(lambda: self._finished_writers == ticket and self._readers == 0)
        try:
            yield
        finally:
            with self._changed:
                self._finished_writers += 1
                self._readers += self._waiting_readers
                self._waiting_readers = 0
                self._changed.notify_all()
