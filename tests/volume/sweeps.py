"""Every sweep of the maintenance worker, done once for each line on standard input.

A process of its own, since settings are a process's. Answers each line with one of JSON: seconds
by the name of the task.
"""

from __future__ import annotations

import json
import sys
import time

import workers.maintenance  # noqa: F401
from broker.celery_app import app
from broker.queues import MAINTENANCE


def main() -> None:
    """Sweep as often as is asked."""
    sweeps = {
        entry["task"]: app.tasks[entry["task"]]
        for entry in app.conf.beat_schedule.values()
        if entry["options"]["queue"] == MAINTENANCE and "args" not in entry
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
