"""Both services side by side, one run after the other, and what is said of their times."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from tests.volume.catalog import COLLECTIONS, Shape
from tests.volume.files import made
from tests.volume.measures import ALLOWED, Calls, Times, in_turn, sweeps_in_turn, table
from tests.volume.service import serving

#: A sweep that finds nothing takes milliseconds, and noise is as much.
SWEEPS = 60


def small_shape(large: Shape) -> Shape:
    """Return an empty service but for one collection, of the size that those of `large` have."""
    return Shape(large.images // COLLECTIONS, large.seed, collections=1, users=1, with_vectors=1)


def compare(kept: Path, large: Shape, scale: float = 1.0) -> dict[str, Times]:
    """Time the calls on both services; the copies are removed in the end."""
    small = small_shape(large)
    files = {shape: made(kept, shape) for shape in (small, large)}
    with (
        tempfile.TemporaryDirectory(prefix="volume-", dir=kept) as folder,
        serving(files[small], small, Path(folder)) as one,
        serving(files[large], large, Path(folder)) as other,
    ):
        times = {}
        for measure in Calls(one, other).measures(scale):
            times[measure.name] = in_turn(measure, one, other)
            print(f"{measure.name}: {times[measure.name].ratio:.2f}", flush=True)
        return times | sweeps_in_turn(one, other, max(20, round(SWEEPS * scale)))


def run(kept: Path, large: Shape, runs: int, scale: float = 1.0, report: Path | None = None) -> int:
    """Compare so many times, print the tables; return the exit code."""
    found: list[Mapping[str, Times]] = []
    slow: list[str] = []
    for number in range(1, runs + 1):
        before = os.getloadavg()
        times = compare(kept, large, scale)
        found.append(times)
        sizes = f"{large.images} images beside {small_shape(large).images}"
        loads = f"load of the machine {before} before and {os.getloadavg()} after"
        print(f"\nRun {number}, {sizes}, {loads}:\n\n{table(times)}\n", flush=True)
        slow += [
            f"run {number}: {name}, {one.ratio:.2f} times"
            for name, one in times.items()
            if one.ratio > ALLOWED
        ]
    for line in slow:
        print(f"SLOW: {line}")
    if report is not None:
        numbers = [{name: asdict(one) for name, one in times.items()} for times in found]
        report.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    return 1 if slow else 0
