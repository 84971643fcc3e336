"""A soak run: the real stack under a steady load, measured every few seconds, then judged."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from tests.chaos.pictures import serve_pictures
from tests.chaos.servers import Plant, running_plant
from tests.soak.gauges import PURGES, allowance, read_gauges
from tests.soak.judge import Allowance, Verdict, judge
from tests.soak.load import Load

#: Everything goes after so short a time that a run sees it go many times over.
RETENTION: dict[str, Any] = {
    "task_seconds": "20",
    "key_seconds": "15",
    "deleted_seconds": "10",
    "result_seconds": "60",
    "staged_seconds": "60",
    "recount_seconds": "3",
    "clock_settling_seconds": "0",
    "snapshot_seconds": "10",
    # It remembers so many tasks, whatever their age; by default ten thousand, in 50 MB.
    "flower_tasks": "100",
    "unclean_ends": "3",
}
#: Longer than the longest of these times, and until the shop is full.
WARM_UP_SECONDS = 75.0
SAMPLE_SECONDS = 2.0
#: So that the append-only file is rewritten within a run, as in months with 64 MB.
REWRITE_BYTES = 2**20


def soak(minutes: float, folder: Path, report: Path | None = None) -> int:
    """Run for so long after the warm-up, print a table; return the exit code."""
    print(f"soak: logs in {folder / 'logs'}", flush=True)
    loads_before = os.getloadavg()
    with serve_pictures() as server, running_plant(folder, **RETENTION) as plant:
        with redis.Redis.from_url(plant.redis_url) as client:
            client.config_set("auto-aof-rewrite-min-size", REWRITE_BYTES)
        with Load(plant.stack.base_url, server) as load:
            _measure(plant, load, WARM_UP_SECONDS)
            print(f"warm: {load.living} images live, {dict(load.done)}", flush=True)
            samples = _measure(plant, load, minutes * 60)
        living, fell = load.living, dict(plant.fell)
    verdicts = judge_all(samples, deleted_collections=load.done["collections deleted"])
    print(table(verdicts))
    print(f"done: {dict(load.done)}, {living} images live at the end")
    print(f"calls: {dict(load.attempts)}; load of the machine {loads_before} {os.getloadavg()}")
    grew = [verdict for verdict in verdicts if verdict.grew]
    for verdict in grew:
        print(f"GREW: {verdict.name} from {verdict.before:.1f} to {verdict.after:.1f}")
    if fell:
        print(f"FELL: {fell}")
    if report:
        numbers = {
            "minutes": minutes,
            "grew": [verdict.name for verdict in grew],
            "processes that ended by themselves": fell,
            "done": load.done,
            "images living at the end": living,
            "calls": load.attempts,
            "sizes": {v.name: [v.before, v.after, v.highest, v.allowed] for v in verdicts},
            "samples": samples,
        }
        report.write_text(json.dumps(numbers, ensure_ascii=False, indent=1), encoding="utf-8")
    return 1 if grew or fell else 0


def _measure(plant: Plant, load: Load, seconds: float) -> list[dict[str, float]]:
    """Sample so long, at even distances."""
    samples = []
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        load.check()
        samples.append(read_gauges(plant))
        next_at = (passed // SAMPLE_SECONDS + 1) * SAMPLE_SECONDS
        time.sleep(max(0.0, begun + next_at - time.monotonic()))
    return samples


def judge_all(samples: Sequence[dict[str, float]], *, deleted_collections: int) -> list[Verdict]:
    """Judge every size that was ever there; one that is missing in a sample was 0."""
    names = sorted({name for sample in samples for name in sample})
    verdicts = []
    for name in names:
        allowed = allowance(name)
        if name == PURGES:
            # A deleted collection is remembered for a quarter of an hour, whatever the settings.
            allowed = Allowance(0.0, deleted_collections)
        verdicts.append(judge(name, [sample.get(name, 0.0) for sample in samples], allowed))
    return verdicts


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the figures as lines of text."""
    lines = [f"{'':44}{'2nd quarter':>12}{'last':>10}{'highest':>10}{'allowed':>10}"]
    for one in verdicts:
        lines.append(
            f"{one.name:44}{one.before:12.1f}{one.after:10.1f}{one.highest:10.1f}"
            f"{one.allowed:10.1f}{'  GREW' if one.grew else ''}"
        )
    return "\n".join(lines)
