"""Networks in ONNX format, and ONNX Runtime, which runs them on a CPU.

The default networks stand in this format beside their weights, in half precision; they are made by
`tools.training.export`. ONNX Runtime loads them in a tenth of a second. To build them in torch and
to export them takes some five, and a process with torch nearly 1 GB.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision.options import ONNXRUNTIME, TORCH

#: The name of a network's input.
INPUT = "pixels"

#: Takes pixels of shape (n, channels, height, width), and returns the outputs, all float32.
ArrayRun = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], ...]]


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that is ready to run."""

    run: ArrayRun
    #: Names the weights, see `vision.weights.content_hash`.
    content_hash: str


def run_in_onnxruntime(content: bytes, threads: int) -> ArrayRun:
    """Return a function that runs a network in ONNX format on `threads` threads, 0: one a core.

    Raises ValueError, with one line, if ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f"engine {ONNXRUNTIME!r} needs the package onnxruntime: {error};"
            f" install it, or choose the engine {TORCH!r}"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    # Otherwise waiting threads spin and take CPU time from the one that they wait for: on a busy
    # machine two spinning threads took twice as long as two without, or as one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda pixels: tuple(session.run(None, {INPUT: pixels}))


def open_exported(weights_file: Path, threads: int) -> LoadedNetwork:
    """Return the network whose weights are in `weights_file`, from the ONNX file beside it.

    Raises ValueError, with one line, as `read_exported` does, or if ONNX Runtime is not installed.
    """
    content, weights_hash = read_exported(weights_file)
    return LoadedNetwork(run_in_onnxruntime(content, threads), weights_hash)


def read_exported(weights_file: Path) -> tuple[bytes, str]:
    """Return the ONNX file beside `weights_file`, and the content hash of the weights.

    Raises ValueError, with one line, if it can't be read, or is not the one that the card of the
    weights names.
    """
    file, card = weights_file.with_suffix(".onnx"), weights_file.with_suffix(".json")
    try:
        content = file.read_bytes()
        named = json.loads(card.read_text(encoding="utf-8"))["exported"]
        wanted, weights_hash = str(named["sha256"]), str(named["content_hash"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"cannot read the network {file}, install it anew: {error}") from error
    if hashlib.sha256(content).hexdigest() != wanted:
        raise ValueError(
            f"the network {file} is damaged: it is not the one that {card} names; install it anew"
        )
    return content, weights_hash
