"""The rounds of a run one after the other: a line for each, a summary, and all numbers as JSON."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from tests.chaos.pictures import serve_pictures
from tests.chaos.probe import knows_idempotency_key
from tests.chaos.round import RoundReport, Run
from tests.chaos.rows import sizes
from tests.chaos.servers import Plant, running_plant


def seed_of(seed: int, number: int) -> int:
    """Return the seed of a round; that of the first is the run's, so that it repeats one round."""
    return seed if number == 0 else random.Random(f"{seed} {number}").randrange(10**9)


def run_rounds(
    rounds: int,
    seed: int,
    folder: Path,
    *,
    images: int = 70,
    known: Collection[str] = (),
    only: Collection[str] = (),
    report: Path | None = None,
    clocks_seconds: float = 0.0,
    sweeps: int = 1,
    second_index: bool = False,
) -> int:
    """Do the rounds, print a line for each, and a summary; return the exit code."""
    started = time.monotonic()
    done: list[RoundReport] = []
    again = "--rounds 1" + (f" --clocks {clocks_seconds}" if clocks_seconds else "")
    again += (f" --sweeps {sweeps}" if sweeps > 1 else "") + " --second-index" * second_index
    print(f"chaos: logs in {folder / 'logs'}", flush=True)
    with serve_pictures() as server, running_plant(folder, clocks_seconds, seed, sweeps) as plant:
        run = Run(plant, server, images, known, only, second_index=second_index)
        run.repeats = knows_idempotency_key(plant.stack.base_url)
        for number in range(rounds):
            done.append(run.round(number, seed_of(seed, number)))
            print(done[-1].line, flush=True)
            _tell(done[-1], folder, again)
        numbers = _numbers(done, plant, seed, time.monotonic() - started)
        numbers["idempotency keys"] = run.repeats
    print(_summary(numbers), flush=True)
    if report:
        report.write_text(json.dumps(numbers, ensure_ascii=False, indent=1), encoding="utf-8")
    return 1 if numbers["failed rounds"] else 0


def _tell(done: RoundReport, folder: Path, again: str) -> None:
    if not done.findings:
        return
    for finding in done.findings:
        print(f"  {finding.kind}: {finding.text}")
    for line in done.journal:
        print(f"    {line}")
    print(f"  logs: {folder / 'logs'}")
    print(f"  again: python -m tests.chaos {again} --seed {done.seed}", flush=True)


def _numbers(done: list[RoundReport], plant: Plant, seed: int, seconds: float) -> dict[str, object]:
    faults: Counter[str] = Counter()
    fell: Counter[str] = Counter()
    attempts: Counter[str] = Counter()
    for one in done:
        faults.update(one.faults)
        fell.update(one.fell)
        attempts.update(one.attempts)
    kinds = Counter(finding.kind for one in done for finding in one.findings)
    return {
        "seed": seed,
        "rounds": len(done),
        "failed rounds": [one.seed for one in done if one.findings],
        "images promised": sum(one.promised for one in done),
        "images succeeded": sum(one.succeeded for one in done),
        "images failed": sum(one.failed for one in done),
        "images deleted": sum(one.deleted for one in done),
        "images of calls without an answer": sum(one.unclear for one in done),
        "images whose name was taken and then gone": sum(one.held_and_gone for one in done),
        "tasks": sum(one.tasks for one in done),
        "faults": dict(sorted(faults.items())),
        "processes that ended by themselves": dict(fell),
        "attempts of clients": dict(sorted(attempts.items())),
        "redeliveries": sum(one.redeliveries for one in done),
        "longest recovery in seconds": max((one.recovery_seconds for one in done), default=0.0),
        "longest round in seconds": max((one.seconds for one in done), default=0.0),
        "seconds": round(seconds, 1),
        "findings by kind": dict(kinds),
        "sizes at the end": sizes(plant),
        "memory at the end": plant.memory(),
        "each round": [one.as_dict() for one in done],
    }


def _summary(numbers: dict[str, object]) -> str:
    left_out = ("each round", "sizes at the end", "memory at the end")
    return "\n".join(f"{name}: {value}" for name, value in numbers.items() if name not in left_out)
