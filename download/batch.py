"""The download of many URLs at once: `fetch_all`."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Hashable, Mapping
from contextvars import copy_context
from typing import Generic, TypeVar

from contract import causes
from contract.errors import BrokenBase64OrUrl, ImageSizeExceedLimit
from download.address import judge_url
from download.client import BeforeRedirect, fetch
from download.faults import TransientFetchError
from download.policy import FetchPolicy
from download.resolver import Resolver, system_resolver

log = logging.getLogger(__name__)

Label = TypeVar("Label", bound=Hashable)
#: The result of one URL of `fetch_all`: its bytes, or why there are none.
FetchOutcome = bytes | BrokenBase64OrUrl | ImageSizeExceedLimit | TransientFetchError


class _Batch(Generic[Label]):
    """The work of one `fetch_all`, shared by its threads."""

    def __init__(self, urls: Mapping[Label, str], policy: FetchPolicy, per_host: int) -> None:
        self._changed = threading.Condition()
        self._labels = list(urls)
        self._waiting: deque[tuple[Label, str, str]] = deque()
        self._running: Counter[str] = Counter()
        self._outcomes: dict[Label, FetchOutcome] = {}
        self._per_host = per_host
        self._hosts: dict[Label, str] = {}
        for label, url in urls.items():
            try:
                self._hosts[label] = judge_url(url, policy).host
                self._waiting.append((label, url, self._hosts[label]))
            except BrokenBase64OrUrl as error:
                self._outcomes[label] = error

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> tuple[Label, str, str] | None:
        """Wait for a URL whose host has a free slot, and return it with its label and host.

        Return None if no URL is left to begin.
        """
        with self._changed:
            while self._waiting:
                for item in self._waiting:
                    if self._running[item[2]] < self._per_host:
                        self._waiting.remove(item)
                        self._running[item[2]] += 1
                        return item
                self._changed.wait()
            return None

    def move(self, old: str, new: str, deadline: float) -> None:
        """Release a slot of one host, and wait for one of another until `deadline`.

        The held slot is released first, so that two downloads that swap hosts do not deadlock.

        Raises TransientFetchError if no slot was free by the deadline; none is held any more then.
        """
        with self._changed:
            self._running[old] -= 1
            self._changed.notify_all()
            if not self._changed.wait_for(
                lambda: self._running[new] < self._per_host,
                timeout=max(0.0, deadline - time.monotonic()),
            ):
                raise TransientFetchError(causes.CROWDED.fault(host=new))
            self._running[new] += 1

    def give(self, label: Label, held: list[str], outcome: FetchOutcome) -> None:
        """Store the outcome of a URL, and release the slots of the hosts in `held`."""
        with self._changed:
            self._outcomes[label] = outcome
            self._running.subtract(held)
            self._changed.notify_all()

    def finish(self, deadline: float) -> dict[Label, FetchOutcome]:
        """Wait for all outcomes until `deadline`, and return them by label.

        No URL begins afterwards; those without an outcome have a TransientFetchError.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._outcomes) == len(self._labels),
                timeout=max(0.0, deadline - time.monotonic()),
            )
            self._waiting.clear()
            self._changed.notify_all()
            return {
                label: self._outcomes[label] if label in self._outcomes else self._late(label)
                for label in self._labels
            }

    def _late(self, label: Label) -> TransientFetchError:
        return TransientFetchError(
            causes.TOO_SLOW.fault("not done by the deadline of the batch", host=self._hosts[label])
        )


def fetch_all(
    urls: Mapping[Label, str],
    policy: FetchPolicy,
    deadline: float,
    *,
    workers: int,
    per_host: int,
    resolver: Resolver = system_resolver,
) -> dict[Label, FetchOutcome]:
    """Fetch many URLs in `workers` threads, and return the bytes or the fault of each label.

    Raises no fault of a URL. Returns by `deadline`, in seconds of `time.monotonic()`: what is not
    done by then is a TransientFetchError. At most `per_host` URLs are fetched from one host at a
    time; a redirected one releases its host's slot and waits for one of the next host, so that
    redirects from many names can't overload one host. The threads are daemons and end soon after
    the deadline.
    """
    batch = _Batch(urls, policy, per_host)

    def work() -> None:
        while (item := batch.take()) is not None:
            label, url, host = item
            held = [host]

            def move(new: str, until: float, held: list[str] = held) -> None:
                batch.move(held.pop(), new, until)
                held.append(new)

            batch.give(label, held, _outcome(url, policy, deadline, resolver, move))

    for _ in range(min(workers, len(batch))):
        # With a copy of the caller's context, so that log lines of downloads have its ids.
        threading.Thread(
            target=copy_context().run, args=(work,), name="download", daemon=True
        ).start()
    return batch.finish(deadline)


def _outcome(
    url: str,
    policy: FetchPolicy,
    deadline: float,
    resolver: Resolver,
    before_redirect: BeforeRedirect,
) -> FetchOutcome:
    try:
        return fetch(url, policy, deadline, resolver, before_redirect)
    except (BrokenBase64OrUrl, ImageSizeExceedLimit, TransientFetchError) as error:
        return error
    except Exception as error:
        # An internal fault must not end the thread, since other URLs wait for it.
        log.exception("a download failed by an unexpected error")
        return TransientFetchError(causes.UNEXPECTED.fault(f"unexpected: {type(error).__name__}"))
