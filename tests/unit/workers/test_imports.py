"""Who loads what: the API stays thin, and no process loads torch before a pool forks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import workers
from broker.queues import (
    DELETIONS,
    DROP,
    MODEL_CHANGES,
    PROBE,
    QUEUES,
    RECOUNTS,
    RECOVERY,
    REFRESH,
    RETENTION,
    RETIRE,
    SWEEP,
    SWITCH,
    task_name,
)

ROOT = Path(workers.__file__).parents[1]

STAGES = ["fetch", "vision", "search", "index", "maintenance"]


def in_a_new_process(program: str, data_dir: Path) -> Any:
    # A folder without a settings file.
    data_dir.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=data_dir,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SNAPSKU_DATA_DIR": str(data_dir),
            "SNAPSKU_REDIS_URL": "redis://127.0.0.1:1/0",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def modules_of_the_api(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("api")
    program = "import json, sys, app.server; print(json.dumps(sorted(sys.modules)))"
    modules = set(in_a_new_process(program, folder))
    assert list(folder.iterdir()) == [], "importing the API wrote something"
    return modules


@pytest.mark.parametrize(
    "heavy",
    [
        *("torch", "torchvision", "onnxruntime", "cv2", "hnswlib", "indexer", "vision.pipeline"),
        *("download.client", "download.resolver", "download.connection", "requests"),
        *(f"workers.{stage}" for stage in STAGES),
    ],
)
def test_the_api_is_thin(modules_of_the_api: set[str], heavy: str) -> None:
    assert "app.operations.search" in modules_of_the_api
    assert heavy not in modules_of_the_api


@pytest.fixture(scope="module")
def loaded_workers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each worker's module brings: tasks by module, and what may not be forked."""
    program = f"""
import importlib, json, sys
for stage in {STAGES}:
    importlib.import_module(f"workers.{{stage}}")
from broker.celery_app import app
app.loader.import_default_modules()
tasks = {{name: task.__module__ for name, task in app.tasks.items()}}
heavy = sorted({{"torch", "onnxruntime", "cv2"}} & set(sys.modules))
print(json.dumps({{"tasks": tasks, "heavy": heavy}}))
"""
    return in_a_new_process(program, tmp_path_factory.mktemp("workers"))


def test_loading_every_worker_loads_no_torch(loaded_workers: Any) -> None:
    assert loaded_workers["heavy"] == []


def test_every_queue_has_its_task_and_every_named_task_exists(loaded_workers: Any) -> None:
    ours = {n: m for n, m in loaded_workers["tasks"].items() if n.startswith("workers.")}
    assert ours == {
        task_name("fetch"): "workers.fetch",
        task_name("vision"): "workers.vision",
        task_name("index"): "workers.index",
        task_name("neighbours"): "workers.index",
        task_name("search"): "workers.search",
        REFRESH: "workers.index",
        DROP: "workers.index",
        SWITCH: "workers.index",
        RETIRE: "workers.index",
        SWEEP: "workers.maintenance",
        RECOVERY: "workers.sweeps.recovery",
        DELETIONS: "workers.sweeps.deletions",
        RETENTION: "workers.sweeps.retention",
        RECOUNTS: "workers.sweeps.recounts",
        MODEL_CHANGES: "workers.sweeps.model_changes",
        PROBE: "workers.support.probe",
    }
    tasks = {task_name(queue) for queue in QUEUES if queue != "maintenance"}
    assert tasks <= set(ours)
