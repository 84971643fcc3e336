"""One round of chaos: load and faults at once, then quiet, then the audit."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass, field

from tests.chaos.aim import Bell
from tests.chaos.audit import audit_files, audit_index, audit_redis, audit_rows
from tests.chaos.audit_api import audit_lists, audit_searches, audit_tasks
from tests.chaos.faults import FaultThread, plan, second_index_faults, weights_of
from tests.chaos.ledger import Finding, Ledger
from tests.chaos.load import Load
from tests.chaos.pictures import PictureServer
from tests.chaos.rows import open_images, read_rows, unrest
from tests.chaos.servers import SECOND_INDEX, SERVERS, Plant

#: Faults happen within so many seconds from the start of the load.
FAULT_SECONDS = 9.0
#: The service must be quiet so soon after the last fault and the last call, or so soon after
#: the last image that ended: a slow machine is not a fault.
QUIET_SECONDS = 60.0
IDLE_SECONDS = 20.0
#: Share of the rounds in which a second index process takes part, where any does.
SECOND_INDEX_SHARE = 1 / 3
#: What an audit finds must still be there after so many seconds.
AGAIN_SECONDS = 3.0
#: The same where clocks are faked: libfaketime holds a lock at a fork now and then, on which the
#: child that saves a shard hangs until it is ended after 10 s, and its folder is empty meanwhile.
AGAIN_SECONDS_OF_FAKED_CLOCKS = 15.0


@dataclass
class RoundReport:
    """What happened in a round; times are seconds."""

    number: int
    seed: int
    promised: int = 0
    succeeded: int = 0
    failed: int = 0
    deleted: int = 0
    tasks: int = 0
    unclear: int = 0  #: images whose add_image was never answered
    held_and_gone: int = 0  #: told that the name is taken, and not there in the end
    faults: dict[str, int] = field(default_factory=dict)
    fell: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    redeliveries: int = 0
    waits: dict[str, float] = field(default_factory=dict)  #: until when something went on
    recovery_seconds: float = 0.0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The round in one line."""
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        verdict = "ok" if not self.findings else f"FAILED, {len(self.findings)} findings"
        return (
            f"round {self.number} seed {self.seed}: {self.promised} promised, "
            f"{self.succeeded} succeeded, {self.failed} failed, {self.deleted} deleted; "
            f"{faults}; {self.redeliveries} redelivered, quiet after "
            f"{self.recovery_seconds:.1f} s, {self.seconds:.0f} s in all: {verdict}"
        )

    def as_dict(self) -> dict[str, object]:
        """Return all of it for a JSON file."""
        return asdict(self)


class Run:
    """What the rounds of a run share."""

    def __init__(
        self,
        plant: Plant,
        server: PictureServer,
        images: int,
        known: Collection[str],
        only: Collection[str],
        *,
        second_index: bool = False,
    ) -> None:
        """`images` is about how many a round takes in.

        Findings of a `known` kind are left out; `only` these kinds of process are hurt, if
        any is named. In a third of the rounds a `second_index` process starts, and stays as the
        owner or as a standby, or is stopped when the round is over.
        """
        self._second_index = second_index
        self._plant = plant
        self._server = server
        self._images = images
        self._known = known
        self._only = only
        self._ledger = Ledger()
        self._told: set[Finding] = set()
        self.repeats = False

    def round(self, number: int, seed: int) -> RoundReport:
        """Do one round."""
        started = time.monotonic()
        report = RoundReport(number, seed)
        chance = random.Random(f"{seed} faults")
        fell = Counter(self._plant.fell)
        bell = Bell()
        load = Load(
            self._plant.stack.base_url,
            self._ledger,
            self._server,
            number,
            seed,
            self._images,
            bell,
            repeats=self.repeats,
        )
        weights = weights_of([*self._plant.stack.kinds, *SERVERS])
        del weights[SECOND_INDEX]
        planned = plan(chance, FAULT_SECONDS, self._only, weights)
        second = random.Random(f"{seed} second index")
        if self._second_index and second.random() < SECOND_INDEX_SHARE:
            planned = sorted(
                [*planned, *second_index_faults(second, FAULT_SECONDS)], key=lambda one: one.at
            )
        faults = FaultThread(self._plant, planned, bell)
        load.start()
        faults.start()
        load.join()
        faults.join()
        report.recovery_seconds = self._await_quiet(faults.healed_at, report.waits)
        self._settle(report, chance)
        if self._plant.has_second_index and second.random() < 0.5:
            self._plant.stop_second_index()
        report.journal = faults.journal
        report.faults = dict(faults.done)
        report.fell = dict(Counter(self._plant.fell) - fell)
        report.attempts = dict(load.attempts)
        report.seconds = round(time.monotonic() - started, 1)
        return report

    def _await_quiet(self, healed_at: float, waits: dict[str, float]) -> float:
        """Wait until nothing goes on; return the seconds that it took from the last fault."""
        deadline = time.monotonic() + QUIET_SECONDS
        last: list[str] = []
        at_work, ended_at = -1, time.monotonic()
        while time.monotonic() < max(deadline, ended_at + IDLE_SECONDS):
            last = unrest(self._plant)
            past = round(time.monotonic() - healed_at, 1)
            if not last:
                return past
            waits.update(dict.fromkeys((text.partition(":")[0] for text in last), past))
            still = open_images(self._plant)
            if still != at_work:
                at_work, ended_at = still, time.monotonic()
            time.sleep(0.3)
        for text in last[:20]:
            self._ledger.note("stuck", f"after {QUIET_SECONDS:.0f} s: {text}")
        return round(time.monotonic() - healed_at, 1)

    def _settle(self, report: RoundReport, chance: random.Random) -> None:
        """Audit, once more where something was found, and count."""
        state = chance.getstate()
        findings = self._audit(report.number, chance)
        if findings:
            time.sleep(
                AGAIN_SECONDS_OF_FAKED_CLOCKS if self._plant.has_faked_clocks else AGAIN_SECONDS
            )
            chance.setstate(state)
            again = set(self._audit(report.number, chance))
            findings = [finding for finding in findings if finding in again]
        with self._ledger.guard:
            findings = [*self._ledger.findings, *findings]
            self._ledger.findings.clear()
        new = [finding for finding in dict.fromkeys(findings) if finding not in self._told]
        self._told.update(new)
        report.findings = [finding for finding in new if finding.kind not in self._known]
        self._count(report)

    def _audit(self, number: int, chance: random.Random) -> list[Finding]:
        plant, ledger = self._plant, self._ledger
        rows = read_rows(plant)
        own = {
            label
            for label, row in rows.living.items()
            if row["image_id"] in ledger.images and ledger.images[row["image_id"]].round == number
        }
        orphans = [Finding("orphan", f"{o.pid} {o.name()}") for o in plant.stack.orphans]
        return [
            *audit_rows(rows, ledger),
            *audit_redis(plant),
            *audit_files(plant),
            *audit_index(rows, plant, own),
            *audit_tasks(plant, ledger, rows, number),
            *audit_lists(plant, rows, number),
            *audit_searches(plant, ledger, rows, number, chance),
            *orphans,
        ]

    def _count(self, report: RoundReport) -> None:
        rows = read_rows(self._plant)
        outcomes = {row["image_id"]: row for row in rows.images}
        mine = [i for i in self._ledger.images.values() if i.round == report.number]
        for image in mine:
            report.unclear += image.unclear and image.promised is None
            report.held_and_gone += image.held and image.image_id not in outcomes
            if image.promised is None:
                continue
            report.promised += 1
            row = outcomes.get(image.image_id, {})
            report.succeeded += image.seen_at is not None or row.get("outcome") == "SUCCEEDED"
            report.failed += row.get("outcome") not in (None, "SUCCEEDED")
            report.deleted += bool(self._ledger.deletions_of(image))
        tasks = {image.promised for image in mine}
        report.tasks = len(tasks - {None})
        mark = f"/货架-{report.number}-"
        report.redeliveries = sum(
            row["attempt"] - 1 for row in rows.chunks if mark in row["task_id"]
        )
