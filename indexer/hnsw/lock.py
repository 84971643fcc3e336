"""A fair read-write lock for threads. Knows nothing of what it guards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """Many readers or one writer, and neither side can starve the other.

    Writers go in the order of their arrival. A reader that comes while a writer
    is at work or waits is let in with all other waiting readers as soon as the
    writer at the head is done, before the next one: it waits for one writer at
    most. A writer waits for the readers that are in, and for the writers and
    the batches of readers before it, never for readers that come later.

    Not reentrant: a thread that holds it and asks again waits for itself.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._waiting_readers = 0
        self._next_ticket = 0
        self._finished_writers = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the lock together with other readers."""
        with self._changed:
            if self._next_ticket == self._finished_writers:
                self._readers += 1
            else:
                # The writer that finishes next counts the waiting readers in, so
                # that no writer can slip in before they wake.
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
        """Hold the lock alone."""
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
