"""The models of a process that sees pictures: of a vision or a search worker.

That is the current model, and the next one while the settings name one.
"""

from __future__ import annotations

import mmap
import os
import signal
from functools import cache
from typing import TYPE_CHECKING, Any

import structlog
from celery.signals import worker_shutdown

from catalog.rows.models import ModelMismatchError, ModelRow
from config.refusal import REFUSED
from config.settings import DEFAULT_WEIGHTS, Settings, settings
from vision.options import VisionOptions
from workers.support.resources import catalog

if TYPE_CHECKING:
    from vision.pipeline import Pipeline

log = structlog.get_logger(__name__)

#: One byte that the parent of a pool shares with its children: set if a child's model is refused.
_refused = mmap.mmap(-1, 1)


class ModelNotLoadedError(Exception):
    """Work needs a model that the settings of this process do not name."""


@cache
def _pipelines() -> tuple[Pipeline, ...]:
    chosen = settings()
    loaded = [load_from(chosen)]
    following = next_of(chosen)
    if following is not None:
        another = load_from(following)
        # Current and next settings may name the same model.
        loaded += [another] if another.model_id != loaded[0].model_id else []
    # Collections with another number of boxes go on with it; new ones get that of the settings.
    served = {other.model_id: row_of(one) for one in loaded for other in one.relatives()}
    first, *others = map(row_of, loaded)
    catalog().models.adopt(first, others[0] if others else None, served)
    return (*loaded, *(other for one in loaded for other in one.relatives()))


def row_of(one: Pipeline) -> ModelRow:
    """Return the row of a model."""
    return ModelRow(one.model_id, one.dimensions, parts=one.parts)


def pipeline(model_id: str | None = None) -> Pipeline:
    """Return a loaded model, by default the one that the settings name first.

    Models of the same networks with another number of boxes count as loaded, too. The first call
    loads what the settings name, and makes the first model that of new collections if the catalogue
    has none yet, or one of the same networks. Raises ModelMismatchError if the catalogue needs
    another, ValueError if a model or its weights can't be loaded, ModelNotLoadedError if the
    settings do not name `model_id`.
    """
    for one in _pipelines():
        if model_id in (None, one.model_id):
            return one
    raise ModelNotLoadedError(
        f"model {model_id} is needed and the settings do not name it; set SNAPSKU_NEXT_DETECTOR "
        "and SNAPSKU_NEXT_EMBEDDER, and start this worker anew"
    )


def next_of(chosen: Settings) -> Settings | None:
    """Return settings whose current model is the next one of `chosen`, or None if it names none."""
    if not any(
        (
            chosen.next_detector,
            chosen.next_detector_weights,
            chosen.next_embedder,
            chosen.next_embedder_weights,
        )
    ):
        return None
    # Weights of the former detector or embedder do not fit another one.
    detector_weights = DEFAULT_WEIGHTS if chosen.next_detector else chosen.detector_weights
    embedder_weights = DEFAULT_WEIGHTS if chosen.next_embedder else chosen.embedder_weights
    return chosen.model_copy(
        update={
            "detector": chosen.next_detector or chosen.detector,
            "detector_weights": chosen.next_detector_weights or detector_weights,
            "embedder": chosen.next_embedder or chosen.embedder,
            "embedder_weights": chosen.next_embedder_weights or embedder_weights,
        }
    )


def load_from(chosen: Settings) -> Pipeline:
    """Load the model that settings name. Raises ValueError if it can't be loaded."""
    # Read by OpenMP when torch is loaded. Its threads would otherwise spin while they wait for each
    # other, which slows down a busy machine: 270 s instead of 3 for 16 pictures on two threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # The parent of a prefork pool needs no networks, and must not import torch.
    from vision.pipeline import load_pipeline

    return load_pipeline(options_of(chosen))


def options_of(chosen: Settings) -> VisionOptions:
    """Return the model that settings name, and how it is run."""
    return VisionOptions(
        detector=chosen.detector,
        detector_weights=chosen.detector_weights,
        embedder=chosen.embedder,
        embedder_weights=chosen.embedder_weights,
        device=chosen.device,
        threads=chosen.torch_threads,
        engine=chosen.engine,
        boxes_indexed=chosen.boxes_indexed,
    )


def load_model() -> None:
    """Load the model when a pool's child starts; stop the whole worker if it can't be used.

    Celery goes on after a signal handler that failed, and a pool replaces a child that ended,
    without end; so the parent has to stop.
    """
    try:
        pipeline()
    except (ModelMismatchError, ValueError) as error:
        log.critical("model can't be used, worker stops", reason=str(error))
        _refused[0] = 1
        os.kill(os.getppid(), signal.SIGTERM)
        raise SystemExit(REFUSED) from error
    except OSError as error:
        # Weights that can't be read or downloaded now: no image is to fail because of that.
        log.critical("model can't be loaded, worker stops to try again", reason=str(error))
        os.kill(os.getppid(), signal.SIGTERM)
        raise SystemExit(1) from error


@worker_shutdown.connect
def _end_as_refused(sender: Any = None, **_: Any) -> None:
    if _refused[0]:
        sender.exitcode = REFUSED
