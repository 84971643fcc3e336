"""ONNX Runtime reports on its use by default; here it does not. No test here lets it send."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.processes import ROOT

OURS = """
from vision.detectors.product import WEIGHTS_FILE
from vision.onnx_network import open_exported
open_exported(WEIGHTS_FILE, threads=1)
"""


def files_at_home(program: str, home: Path) -> list[str]:
    """What a program leaves under HOME, in an environment that asks for nothing."""
    # With CI=true, as on a runner, ONNX Runtime reports nothing.
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home)}
    subprocess.run([sys.executable, "-c", program], env=variables, check=True, timeout=120)
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_a_process_that_runs_a_network_leaves_no_device_id_at_home(tmp_path: Path) -> None:
    assert files_at_home(OURS, tmp_path) == []


@pytest.mark.parametrize("module", ["vision.engine", "tools.training.export"])
def test_what_exports_networks_leaves_none_either(tmp_path: Path, module: str) -> None:
    assert files_at_home(f"import {module}, onnxruntime", tmp_path) == []


def test_onnxruntime_by_itself_leaves_one(tmp_path: Path) -> None:
    """If this fails, it reports no more, and `vision/__init__.py` need not tell it not to."""
    assert "deviceid" in files_at_home("import onnxruntime", tmp_path)
