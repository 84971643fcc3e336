"""`python -m tools.training.export`: the default networks in ONNX format, beside their weights.

Writes each file, and its hash into the card of the weights. A worker runs these files without
torch, see `vision.onnx_network`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from vision.detectors import product as product_detector
from vision.detectors.product_network import trained_boxes
from vision.embedders import product as product_embedder
from vision.embedders.product_network import trained_features
from vision.engine import onnx_content
from vision.options import DEFAULT_WEIGHTS

#: Constants with fewer numbers stay as they are: a cast would take more room than it saves.
LEAST_NUMBERS = 64


def in_half_precision(content: bytes) -> bytes:
    """Return a network in ONNX format with its weights in half precision, where that is exact.

    Each is cast back where it is used, which ONNX Runtime does once, when it loads the network; so
    the outputs are the same bit for bit.
    """
    model = onnx.load_from_string(content)
    casts = []
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < LEAST_NUMBERS:
            continue
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = f"{tensor.name}.half"
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(numpy_helper.from_array(half, name))
        casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString()
    return written


def export(weights_file: Path, network: torch.nn.Module, side: int, content_hash: str) -> Path:
    """Write a network for pictures of `side` pixels beside its weights; return the file."""
    content = in_half_precision(onnx_content(network, torch.zeros(1, 3, side, side)))
    file, card_file = weights_file.with_suffix(".onnx"), weights_file.with_suffix(".json")
    file.write_bytes(content)
    card = json.loads(card_file.read_text(encoding="utf-8"))
    card["exported"] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "content_hash": content_hash,
        "torch": torch.__version__,
        "by": "tools/training/export.py",
    }
    text = json.dumps(card, ensure_ascii=False, indent=2)
    card_file.write_text(f"{text}\n", encoding="utf-8")
    return file


def main() -> None:
    """Export both default networks."""
    boxes, boxes_hash = trained_boxes(DEFAULT_WEIGHTS)
    features, features_hash = trained_features(DEFAULT_WEIGHTS)
    for weights_file, network, side, content_hash in (
        (product_detector.WEIGHTS_FILE, boxes, product_detector.INPUT_SIDE, boxes_hash),
        (product_embedder.WEIGHTS_FILE, features, product_embedder.INPUT_SIDE, features_hash),
    ):
        print(export(weights_file, network, side, content_hash))


if __name__ == "__main__":
    main()
