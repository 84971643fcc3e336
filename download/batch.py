"""The download of many URLs at once: `fetch_all`."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextvars import copy_context
from typing import Generic, NamedTuple, Protocol, TypeVar

from contract import causes
from contract.errors import BrokenBase64OrUrl, ImageSizeExceedLimit
from download.address import Target, judge_url
from download.client import BeforeRedirect, fetch
from download.faults import PutOffError, TransientFetchError
from download.policy import FetchPolicy
from download.resolver import Resolver, system_resolver

log = logging.getLogger(__name__)

Label = TypeVar("Label", bound=Hashable)
#: The result of one URL of `fetch_all`: its bytes, or why there are none.
FetchOutcome = bytes | BrokenBase64OrUrl | ImageSizeExceedLimit | TransientFetchError
#: Takes the outcomes of some URLs while others are still being fetched.
Early = Callable[[Mapping[Label, FetchOutcome]], None]

#: After so many seconds, URLs that are done wait no longer for those that are not.
PATIENCE_SECONDS = 2.0


class Hosts(Protocol):
    """What is known of servers, each named by host and port; threads call it at once."""

    def put_off(self, host: str) -> PutOffError | None:
        """Return why `host` is not to be asked now, or None if it is.

        A caller that gets None tells the outcome by one of the other two.
        """

    def answered(self, host: str) -> None:
        """Note that `host` answered, if with an error about one URL."""

    def failed(self, host: str, error: TransientFetchError) -> None:
        """Note a fault that other URLs of `host` would meet as well."""


class _Work(NamedTuple, Generic[Label]):
    """A URL to be fetched."""

    label: Label
    url: str
    target: Target


class _Batch(Generic[Label]):
    """The work of one `fetch_all`, shared by its threads."""

    def __init__(self, urls: Mapping[Label, str], policy: FetchPolicy, per_host: int) -> None:
        self._changed = threading.Condition()
        self._work: dict[Label, _Work[Label]] = {}
        self._running: Counter[str] = Counter()
        self._outcomes: dict[Label, FetchOutcome] = {}
        self._told: set[Label] = set()
        self._per_host = per_host
        self._count = len(urls)
        for label, url in urls.items():
            try:
                self._work[label] = _Work(label, url, judge_url(url, policy))
            except BrokenBase64OrUrl as error:
                self._outcomes[label] = error
        # In no order of the caller's: the first URL of a host decides whether it is asked again.
        self._waiting = deque(random.sample(list(self._work.values()), len(self._work)))

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> _Work[Label] | None:
        """Wait for a URL whose host has a free slot, and return it; None if none is left."""
        with self._changed:
            while self._waiting:
                for work in self._waiting:
                    if self._running[work.target.host] < self._per_host:
                        self._waiting.remove(work)
                        self._running[work.target.host] += 1
                        return work
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
                raise TransientFetchError(causes.CROWDED.fault(host=new), is_of_host=False)
            self._running[new] += 1

    def give(self, label: Label, held: list[str], outcome: FetchOutcome) -> None:
        """Store the outcome of a URL, and release the slots of the hosts in `held`."""
        with self._changed:
            self._outcomes[label] = outcome
            self._running.subtract(held)
            self._changed.notify_all()

    def collect(self, deadline: float) -> tuple[dict[Label, FetchOutcome], bool]:
        """Wait for all outcomes until `deadline`; return those that are new, and whether all are.

        New are those that no earlier call returned.
        """
        with self._changed:
            is_done = self._changed.wait_for(
                lambda: len(self._outcomes) == self._count,
                timeout=max(0.0, deadline - time.monotonic()),
            )
            new = {n: one for n, one in self._outcomes.items() if n not in self._told}
            self._told.update(new)
            return new, is_done

    def finish(self, deadline: float) -> dict[Label, FetchOutcome]:
        """Wait for all outcomes until `deadline`, and return those that no call returned before.

        No URL begins afterwards; those that did not end have a TransientFetchError, and those that
        did not begin a PutOffError.
        """
        new, _ = self.collect(deadline)
        with self._changed:
            late = [work for n, work in self._work.items() if n not in self._told]
            unbegun = set(self._waiting)
            self._told.update(work.label for work in late)
            self._waiting.clear()
            self._changed.notify_all()
        return new | {work.label: self._late(work, work not in unbegun) for work in late}

    @staticmethod
    def _late(work: _Work[Label], has_begun: bool) -> TransientFetchError:
        if not has_begun:
            fault = causes.CROWDED.fault(host=work.target.host)
            return PutOffError(fault, 0.0)
        return TransientFetchError(
            causes.TOO_SLOW.fault("not done by the deadline of the batch", host=work.target.host)
        )


def fetch_all(
    urls: Mapping[Label, str],
    policy: FetchPolicy,
    deadline: float,
    *,
    workers: int,
    per_host: int,
    hosts: Hosts | None = None,
    early: Early[Label] | None = None,
    resolver: Resolver = system_resolver,
) -> dict[Label, FetchOutcome]:
    """Fetch many URLs in `workers` threads, and return the bytes or the fault of each label.

    Raises no fault of a URL. Returns by `deadline`, in seconds of `time.monotonic()`: what is not
    done by then is a TransientFetchError. At most `per_host` URLs are fetched from one host at a
    time; a redirected one releases its host's slot and waits for one of the next host, so that
    redirects from many names can't overload one host. The threads are daemons and end soon after
    the deadline.

    `hosts` is asked before each request, and a host that it puts off is not asked. If some URLs are
    done after `PATIENCE_SECONDS` and others are not, `early` is called with the outcomes of the
    former, which are not returned then.
    """
    batch = _Batch(urls, policy, per_host)

    def work() -> None:
        while (taken := batch.take()) is not None:
            held, asked = [taken.target.host], [taken.target.endpoint]

            def move(
                new: Target, until: float, held: list[str] = held, asked: list[str] = asked
            ) -> None:
                if hosts is not None and (put_off := hosts.put_off(new.endpoint)) is not None:
                    raise put_off
                batch.move(held.pop(), new.host, until)
                held.append(new.host)
                asked.append(new.endpoint)

            def download(url: str = taken.url, move: BeforeRedirect = move) -> bytes:
                return fetch(url, policy, deadline, resolver, move)

            batch.give(taken.label, held, _outcome(download, asked, hosts))

    for _ in range(min(workers, len(batch))):
        # With a copy of the caller's context, so that log lines of downloads have its ids.
        threading.Thread(
            target=copy_context().run, args=(work,), name="download", daemon=True
        ).start()
    outcomes: dict[Label, FetchOutcome] = {}
    if early is not None:
        outcomes, is_done = batch.collect(min(deadline, time.monotonic() + PATIENCE_SECONDS))
        if outcomes and not is_done:
            early(outcomes)
            outcomes = {}
    outcomes |= batch.finish(deadline)
    return {label: outcomes[label] for label in urls if label in outcomes}


def _outcome(
    download: Callable[[], bytes], asked: Sequence[str], hosts: Hosts | None
) -> FetchOutcome:
    """Return the outcome of a download, and tell `hosts` of it.

    `asked` are the endpoints that it asks: the first one, and those of the redirects that follow.
    """
    try:
        put_off = hosts.put_off(asked[0]) if hosts else None
        if put_off is not None:
            return put_off
        outcome = _downloaded(download)
        if hosts is not None:
            _tell(hosts, asked, outcome)
    except Exception as error:
        # An internal fault must not end the thread, since other URLs wait for it.
        log.exception("a download failed by an unexpected error")
        fault = causes.UNEXPECTED.fault(f"unexpected: {type(error).__name__}")
        return TransientFetchError(fault, is_of_host=False)
    return outcome


def _tell(hosts: Hosts, asked: Sequence[str], outcome: FetchOutcome) -> None:
    failed = ""
    if isinstance(outcome, TransientFetchError) and outcome.is_of_host:
        failed = outcome.endpoint
        hosts.failed(failed, outcome)
    for endpoint in dict.fromkeys(asked):
        if endpoint != failed:
            hosts.answered(endpoint)


def _downloaded(download: Callable[[], bytes]) -> FetchOutcome:
    try:
        return download()
    except (BrokenBase64OrUrl, ImageSizeExceedLimit, TransientFetchError) as error:
        return error
