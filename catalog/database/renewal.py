"""The thread that renews a lease while its holder works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Self

from pymongo.errors import PyMongoError


class Renewal:
    """Renews a lease at an interval, from `start` to `stop` or until the lease is lost."""

    def __init__(
        self,
        name: str,
        seconds: float,
        renew: Callable[[], bool],
        on_fault: Callable[[PyMongoError], None],
    ) -> None:
        """Take the thread's name, the interval in seconds, and the function that renews.

        `renew` returns False once the lease is lost, which ends the thread. If it raises
        PyMongoError, `on_fault` is called, and the next interval tries again.
        """
        self._name = name
        self._seconds = seconds
        self._renew = renew
        self._on_fault = on_fault
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; its first renewal comes after one interval."""
        # A copy of the context, so that its log lines have the ids bound here.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=self._name, daemon=True
        )
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """End the thread; wait for a renewal under way, at most `seconds`, None for no limit.

        A renewal that ends after the lease was released could extend it again.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                if not self._renew():
                    return
            except PyMongoError as error:
                self._on_fault(error)
