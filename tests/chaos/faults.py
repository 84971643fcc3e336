"""The faults of a round: which process is hurt when and how, all chosen by the seed."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tests.chaos.aim import STAGES, Bell, await_work
from tests.chaos.servers import LEASE_SECONDS, MONGO, POOLS, REDIS, SECOND_INDEX, Plant

#: How often each kind is chosen; those that own the work of a picture most.
WEIGHTS = {
    "api": 5,
    "fetch": 4,
    "vision": 5,
    "search": 2,
    "index": 5,
    "maintenance": 3,
    "beat": 1,
    "flower": 0.5,
    REDIS: 2,
    MONGO: 2,
}

#: Share of the faults that wait for the middle of the work that they are to meet.
AIMED = 0.6
#: Kinds that a call meets while it is answered.
CALLED = ("api", REDIS, MONGO)


@dataclass(frozen=True)
class Fault:
    """Something that happens to a process, `at` seconds after the start of the load."""

    at: float
    kind: str
    part: str  #: "parent", "child" or "all"
    #: "kill", "pause", "empty" (a Redis that comes back with nothing) or "join" (another process
    #: starts, and stays)
    action: str
    seconds: float  #: until it is started again or goes on
    delay: float | None  #: seconds into the middle of something that it waits for, if it does

    def __str__(self) -> str:
        part = f" ({self.part})" if self.kind in POOLS else ""
        aim = "" if self.delay is None else f" {self.delay * 1000:.0f} ms into its work"
        return f"{self.at:.1f} s: {self.action} {self.kind}{part}{aim}, {self.seconds:.1f} s"


def weights_of(kinds: Collection[str]) -> dict[str, float]:
    """Return how often each of the kinds is chosen; a second process as often as the first."""
    return {kind: WEIGHTS[kind.partition("-")[0]] for kind in kinds}


def second_index_faults(chance: random.Random, window: float) -> list[Fault]:
    """Return what happens in a round with a second index process.

    It starts, and then the first is killed or stands still for longer than its lease.
    """
    joined_at = chance.uniform(0.2, 0.3 * window)
    action = chance.choice(["kill", "pause"])
    seconds = LEASE_SECONDS + chance.uniform(0.5, 4.0)
    delay = chance.uniform(0.0, 0.15)
    hurt_at = joined_at + chance.uniform(2.0, 0.5 * window)
    return [
        Fault(joined_at, SECOND_INDEX, "all", "join", 0.0, None),
        Fault(hurt_at, "index", "all", action, seconds, delay),
    ]


def plan(
    chance: random.Random,
    window: float,
    only: Collection[str] = (),
    weights: Mapping[str, float] = WEIGHTS,
) -> list[Fault]:
    """Return the faults of a round, within `window` seconds; to `only` these kinds, if any."""
    moments: list[float] = []
    for _ in range(chance.randint(4, 8)):
        moment = chance.uniform(0.5, window)
        # Now and then several at once.
        moments += [moment] * (chance.randint(2, 4) if chance.random() < 0.15 else 1)
    kinds = [kind for kind in weights if not only or kind in only]
    faults = []
    for moment in sorted(moments):
        kind = chance.choices(kinds, [weights[kind] for kind in kinds])[0]
        part = chance.choice(["parent", "child", "all"]) if kind in POOLS else "all"
        action = "pause" if chance.random() < 0.35 else "kill"
        if kind == REDIS and action == "kill" and chance.random() < 0.3:
            action = "empty"
        if action != "pause":
            seconds = chance.uniform(0.1, 4.0)
        elif chance.random() < 0.5:
            seconds = chance.uniform(0.3, 0.6 * LEASE_SECONDS)
        else:
            seconds = LEASE_SECONDS + chance.uniform(0.5, 3.0)
        delay = chance.uniform(0.0, 0.15) if chance.random() < AIMED else None
        faults.append(Fault(moment, kind, part, action, seconds, delay))
    return faults


class FaultThread(threading.Thread):
    """Does the faults of a round, and undoes each after its time."""

    def __init__(self, plant: Plant, faults: list[Fault], bell: Bell) -> None:
        super().__init__(name="faults", daemon=True)
        self._bell = bell
        self._plant = plant
        self._faults = faults
        self._healers: list[threading.Thread] = []
        self._busy: set[str] = set()
        self._guard = threading.Lock()
        self.done: Counter[str] = Counter()
        self.journal: list[str] = []
        self.healed_at = time.monotonic()  #: when the last one was undone

    def run(self) -> None:
        """Do them all, and come back when the last one is undone."""
        started = time.monotonic()
        for fault in self._faults:
            time.sleep(max(0.0, started + fault.at - time.monotonic()))
            with self._guard:
                if fault.kind in self._busy:
                    continue
                self._busy.add(fault.kind)
            self.done[f"{fault.action} {fault.kind}"] += 1
            healer = threading.Thread(target=self._hurt_and_heal, args=(fault,), daemon=True)
            healer.start()
            self._healers.append(healer)
        for healer in self._healers:
            healer.join()

    def _hurt_and_heal(self, fault: Fault) -> None:
        if fault.delay is not None:
            self._aim(fault, fault.delay)
        self._write(f"{fault}")
        if fault.action == "join":
            self._plant.start_second_index()
        elif fault.action == "pause":
            stopped = self._plant.pause(fault.kind, fault.part)
            time.sleep(fault.seconds)
            self._plant.resume(stopped)
        elif self._plant.kill(fault.kind, fault.part):
            time.sleep(fault.seconds)
            self._plant.restart(fault.kind, empty=fault.action == "empty")
        with self._guard:
            self._busy.discard(fault.kind)
            self.healed_at = time.monotonic()
        self._write(f"healed: {fault}")

    def _aim(self, fault: Fault, delay: float) -> None:
        if fault.kind in STAGES:
            await_work(self._plant, fault.kind)
        elif fault.kind in CALLED:
            self._bell.wait()
        time.sleep(delay)

    def _write(self, line: str) -> None:
        stamp = (
            time.strftime("%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03}"
        )
        self.journal.append(f"{stamp} {line}")
