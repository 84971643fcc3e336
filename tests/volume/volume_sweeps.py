"""Every sweep of the maintenance worker, done once for each line on standard input.

A process of its own, since settings are a process's. Answers each line with one of JSON: seconds
by the name of the task.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import workers.maintenance
from workers.broker import app


def main() -> None:
    """Sweep as often as is asked."""
    sweeps = {
        name: task
        for name, task in sorted(app.tasks.items())
        if task.run.__module__ == workers.maintenance.__name__
        and not inspect.signature(task.run).parameters
    }
    assert sweeps, "no sweep was found"
    for _ in sys.stdin:
        seconds = {}
        for name, task in sweeps.items():
            begun = time.perf_counter()
            task.run()
            seconds[name] = time.perf_counter() - begun
        sys.stdout.write(json.dumps(seconds) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
